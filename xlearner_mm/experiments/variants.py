"""The slides' variants on small data: their trainings in order, and the backbones that are transferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """One training of a variant; its work directory is ``stages/<config's name>``.

    Args:
        config: below the folder of the family's configs.
        seconds: approximate duration on one core.
        reads: setting -> value, with ``{<training>}`` for the work directory of a training, which must run before.
            A dry run leaves them out. Defaults to none.
        export: whether its backbone is written to ``backbone.pth`` for a later training. Defaults to False.
        shortened: setting -> value for a trial of a few steps, beside their number. Defaults to none.
        options: setting -> value, overrides of the config. Defaults to none.
        alias: name of the training, if another one has the same config. Defaults to None: the config's name.
    """

    config: str
    seconds: float
    reads: Mapping[str, str] = field(default_factory=dict)
    export: bool = False
    shortened: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    alias: str | None = None

    @property
    def name(self) -> str:
        """Name of its work directory."""
        return self.alias or Path(self.config).stem

    @property
    def before(self) -> tuple[str, ...]:
        """Names of the trainings that it reads."""
        read = (value.partition('{')[2].partition('}')[0] for value in self.reads.values())
        return tuple(dict.fromkeys(filter(None, read)))


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


@dataclass(frozen=True)
class Family:
    """Variants on one group of small data sets.

    Args:
        name: of the folder of its configs.
        trainings: by name.
        variants: by name.
    """

    name: str
    trainings: Mapping[str, Training]
    variants: Mapping[str, Variant]

    @property
    def configs(self) -> Path:
        """Folder of its configs."""
        return Path('configs') / self.name

    def needs(self, training: str) -> tuple[str, ...]:
        """Return the jobs before a training."""
        before = self.trainings[training].before
        return tuple(f'stages/{name}/export' if self.trainings[name].export else f'stages/{name}' for name in before)

    def trainings_of(self, variant: str) -> list[str]:
        """Return the names of all trainings of a variant, in order; a random start has none."""
        result = self.variants[variant].result
        return self._with_needs(result) if result else []

    def _with_needs(self, training: str) -> list[str]:
        before = self.trainings[training].before
        return list(dict.fromkeys([*(name for need in before for name in self._with_needs(need)), training]))


def schedule_of(steps: int) -> dict[str, object]:
    """Return the settings that give a training of XL-Mini another length.

    Args:
        steps: optimizer steps; the warm-up keeps its 40.
    """
    return {
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': steps,
        'param_scheduler.1.end': steps,
        'param_scheduler.1.T_max': steps - 40,
    }


def _squeeze(expansion: str, seconds: float) -> Training:
    name = expansion.replace('_expansion', '_squeeze')
    return Training(f'{name}.py', seconds, {'model.teacher.checkpoint': f'{{{expansion}}}'})


MINI_SOURCES = ('digits', 'shapes', 'textures', 'det_shapes', 'det_digits')
"""Sources of XL-Mini's variants without segmentation."""
_TRAININGS = [
    Training('hard_sharing_r18.py', 310),
    Training('hard_sharing_flops_r18.py', 470),
    Training('hard_sharing_seg_r18.py', 500),
    Training('hard_sharing_seg_flops_r18.py', 750),
    Training('xlearner_r18_expansion.py', 170),
    _squeeze('xlearner_r18_expansion', 200),
    *(Training(f'single/{source}_r18.py', 60, export=True) for source in MINI_SOURCES),
    Training(
        'xlearner_pp_r18_expansion.py',
        220,
        {f'model.hints.{source}.checkpoint': f'{{{source}_r18}}/backbone.pth' for source in MINI_SOURCES},
    ),
    _squeeze('xlearner_pp_r18_expansion', 200),
    Training('xlearner_seg_r18_expansion.py', 280),
    _squeeze('xlearner_seg_r18_expansion', 345),
    Training('xlearner_wo_rec_r18_expansion.py', 150),
    _squeeze('xlearner_wo_rec_r18_expansion', 185),
    Training('xlearner_t_r18_expansion.py', 160),
    _squeeze('xlearner_t_r18_expansion', 200),
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
_VARIANTS = {
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
MINI = Family('mini', {training.name: training for training in _TRAININGS}, _VARIANTS)
"""The slides' variants on XL-Mini.

Hard-sharing trains for as many optimizer steps as X-Learner's expansion and squeeze together, ``*_flops`` with as many
FLOPs.
"""

_PHOTO_TRAININGS = [
    Training('hard_sharing_seg_r18.py', 1180),
    Training('hard_sharing_seg_flops_r18.py', 1620),
    Training('xlearner_seg_r18_expansion.py', 650),
    _squeeze('xlearner_seg_r18_expansion', 890),
    Training('xlearner_seg_wo_rec_r18_expansion.py', 500),
    _squeeze('xlearner_seg_wo_rec_r18_expansion', 810),
]
PHOTO = Family(
    'photo',
    {training.name: training for training in _PHOTO_TRAININGS},
    {
        'scratch': Variant('Random start'),
        'hard_sharing_seg': Variant('Hard-sharing', 'hard_sharing_seg_r18'),
        'hard_sharing_seg_flops': Variant('Hard-sharing, equal FLOPs', 'hard_sharing_seg_flops_r18'),
        'xlearner_seg': Variant('X-Learner w/ seg', 'xlearner_seg_r18_squeeze'),
        'xlearner_seg_wo_rec': Variant('X-Learner w/ seg, w/o Rec.', 'xlearner_seg_wo_rec_r18_squeeze'),
    },
)
"""Variants on XL-Photo, with budgets as on XL-Mini."""

FAMILIES = {family.name: family for family in (MINI, PHOTO)}
