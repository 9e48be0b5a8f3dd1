"""The slides' variants in miniature: their trainings in order, and the backbones that are transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """One training of a variant; its work directory is ``stages/<config's name>``.

    Args:
        config: below ``configs/mini``.
        seconds: approximate duration on one core.
        reads: setting -> value, with ``{<training>}`` for the work directory of a training, which must run before.
            Defaults to none.
        export: whether its backbone is written to ``backbone.pth`` for a later training. Defaults to False.
        shortened: setting -> value for a trial of a few steps, beside their number. Defaults to none.
    """

    config: str
    seconds: float
    reads: Mapping[str, str] = field(default_factory=dict)
    export: bool = False
    shortened: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the config."""
        return Path(self.config).stem

    @property
    def needs(self) -> tuple[str, ...]:
        """Jobs before it."""
        exported = {training.name for training in TRAININGS.values() if training.export}
        names = dict.fromkeys(value.partition('{')[2].partition('}')[0] for value in self.reads.values())
        return tuple(f'stages/{name}/export' if name in exported else f'stages/{name}' for name in names)


def _squeeze(expansion: str, seconds: float) -> Training:
    name = expansion.replace('_expansion', '_squeeze')
    return Training(f'{name}.py', seconds, {'model.teacher.checkpoint': f'{{{expansion}}}'})


_HINT_TEACHERS = ('digits', 'shapes', 'textures', 'det_shapes', 'det_digits')
_TRAININGS = [
    Training('hard_sharing_r18.py', 280),
    Training('hard_sharing_flops_r18.py', 420),
    Training('hard_sharing_seg_r18.py', 400),
    Training('hard_sharing_seg_flops_r18.py', 600),
    Training('xlearner_r18_expansion.py', 170),
    _squeeze('xlearner_r18_expansion', 160),
    *(Training(f'single/{source}_r18.py', 60, export=True) for source in _HINT_TEACHERS),
    Training(
        'xlearner_pp_r18_expansion.py',
        220,
        {f'model.hints.{source}.checkpoint': f'{{{source}_r18}}/backbone.pth' for source in _HINT_TEACHERS},
    ),
    _squeeze('xlearner_pp_r18_expansion', 160),
    Training('xlearner_seg_r18_expansion.py', 280),
    _squeeze('xlearner_seg_r18_expansion', 230),
    Training('xlearner_wo_rec_r18_expansion.py', 150),
    _squeeze('xlearner_wo_rec_r18_expansion', 150),
    Training('xlearner_t_r18_expansion.py', 160),
    _squeeze('xlearner_t_r18_expansion', 160),
    Training('single/cls_r18.py', 80),
    Training('single/det_r18.py', 80),
    Training('xlearner_r_cls_r18_squeeze.py', 70, {'model.teacher.checkpoint': '{cls_r18}'}),
    Training('xlearner_r_det_r18_squeeze.py', 50, {'model.teacher.checkpoint': '{det_r18}'}),
    Training(
        'xlearner_r_r18_expansion.py',
        130,
        {
            f'model.backbone.branches.{task}.init_cfg.checkpoint': f'{{xlearner_r_{task}_r18_squeeze}}'
            for task in ('cls', 'det')
        },
    ),
    Training(
        'xlearner_p_r18_prune.py',
        200,
        {'load_from': '{xlearner_r18_expansion}'},
        shortened={'custom_hooks.4.steps': 1, 'custom_hooks.4.interval': 1},  # everything in the first step
    ),
]
TRAININGS = {training.name: training for training in _TRAININGS}


@dataclass(frozen=True)
class Variant:
    """A row of the slides.

    Args:
        title: name in the slides.
        result: the training whose backbone is transferred. Defaults to None: a random start.
        expanded: whether the expanded network itself is transferred. Defaults to False: a plain backbone.
    """

    title: str
    result: str | None = None
    expanded: bool = False

    def trainings(self) -> list[str]:
        """Return the names of all its trainings in order."""
        return _with_needs(self.result) if self.result else []


VARIANTS = {
    'scratch': Variant('Random start'),
    'hard_sharing': Variant('Hard-sharing', 'hard_sharing_r18'),
    'hard_sharing_flops': Variant('Hard-sharing, equal FLOPs', 'hard_sharing_flops_r18'),
    'xlearner': Variant('X-Learner', 'xlearner_r18_squeeze'),
    'xlearner_pp': Variant('X-Learner++', 'xlearner_pp_r18_squeeze'),
    'xlearner_seg': Variant('X-Learner w/ seg', 'xlearner_seg_r18_squeeze'),
    'xlearner_wo_rec': Variant('X-Learner w/o Rec.', 'xlearner_wo_rec_r18_squeeze'),
    'xlearner_t': Variant('X-Learner_t', 'xlearner_t_r18_squeeze'),
    'xlearner_r': Variant('X-Learner_r', 'xlearner_r_r18_expansion', expanded=True),
    'xlearner_p': Variant('X-Learner_p', 'xlearner_p_r18_prune', expanded=True),
    'hard_sharing_seg': Variant('Hard-sharing w/ seg', 'hard_sharing_seg_r18'),
    'hard_sharing_seg_flops': Variant('Hard-sharing w/ seg, equal FLOPs', 'hard_sharing_seg_flops_r18'),
}
"""Variants of ``tools/run_pipeline.py`` by name.

Hard-sharing trains for as many optimizer steps as X-Learner's expansion and squeeze together, ``*_flops`` with as many
FLOPs.
"""


def _with_needs(training: str) -> list[str]:
    before = [need.split('/')[1] for need in TRAININGS[training].needs]
    return list(dict.fromkeys([*(name for need in before for name in _with_needs(need)), training]))
