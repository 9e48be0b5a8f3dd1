"""The slides' variants in miniature: which trainings each takes, in which order, and what is transferred."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xlearner_mm.mini import catalog
from xlearner_mm.mini.build import MARKER
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.pipeline.job import Job
from xlearner_mm.pipeline.training import training_job
from xlearner_mm.transfer.checkpoint import sha256_of
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.scores import Row
from xlearner_mm.transfer.suite import TransferSet, transfer_jobs
from xlearner_mm.transfer.suite_row import suite_row
from xlearner_mm.transfer.upstream import read_upstream

CONFIGS = Path('configs/mini')
DATA = Path('data/xl_mini')
PROTOCOL = Protocol()
"""How all variants are judged: frozen, as ``configs/mini/transfer`` has it, classification by logistic regression."""


@dataclass(frozen=True)
class Training:
    """One training of a variant; its work directory is ``stages/<config's name>``.

    Args:
        config: below ``configs/mini``.
        seconds: about how long it takes on one core.
        reads: setting -> what it is set to, with ``{<training>}`` for that training's work directory, which thereby has
            to come before. Defaults to none.
        export: whether its backbone is written to ``backbone.pth`` for a later training. Defaults to False.
    """

    config: str
    seconds: float
    reads: Mapping[str, str] = field(default_factory=dict)
    export: bool = False

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
    Training('hard_sharing_r18.py', 140),
    Training('hard_sharing_seg_r18.py', 200),
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
    Training('xlearner_r_r18_expansion.py', 130),
    Training('xlearner_p_r18_prune.py', 200, {'load_from': '{xlearner_r18_expansion}'}),
]
TRAININGS = {training.name: training for training in _TRAININGS}


@dataclass(frozen=True)
class Variant:
    """A row of the slides.

    Args:
        title: as the slides call it.
        result: the training whose backbone is transferred. Defaults to None: a random start.
        expanded: whether that is the expanded net as it is. Defaults to False: a plain backbone.
    """

    title: str
    result: str | None = None
    expanded: bool = False

    def trainings(self) -> list[str]:
        """Return the names of all its trainings, each after those that it reads."""
        return _with_needs(self.result) if self.result else []


VARIANTS = {
    'scratch': Variant('Random start'),
    'hard_sharing': Variant('Hard-sharing', 'hard_sharing_r18'),
    'xlearner': Variant('X-Learner', 'xlearner_r18_squeeze'),
    'xlearner_pp': Variant('X-Learner++', 'xlearner_pp_r18_squeeze'),
    'xlearner_seg': Variant('X-Learner w/ seg', 'xlearner_seg_r18_squeeze'),
    'xlearner_wo_rec': Variant('X-Learner w/o Rec.', 'xlearner_wo_rec_r18_squeeze'),
    'xlearner_t': Variant('X-Learner_t', 'xlearner_t_r18_squeeze'),
    'xlearner_r': Variant('X-Learner_r', 'xlearner_r_r18_expansion', expanded=True),
    'xlearner_p': Variant('X-Learner_p', 'xlearner_p_r18_prune', expanded=True),
    'hard_sharing_seg': Variant('Hard-sharing w/ seg', 'hard_sharing_seg_r18'),
}
"""Name -> variant: what ``tools/run_pipeline.py`` runs."""


def variant_jobs(
    names: Sequence[str], work_dir: Path, sets: Sequence[TransferSet], steps: int | None = None
) -> list[Job]:
    """Return all jobs of some variants, from writing the data to the last transfer; each once, whoever needs it.

    Args:
        names: of :data:`VARIANTS`.
        work_dir: parent of all work directories.
        sets: what is transferred to.
        steps: length of every training. Defaults to None: as the configs say.

    Raises:
        KeyError: no such variant.
    """
    short: dict[str, object] = {} if steps is None else {'train_cfg.max_iters': steps, 'train_cfg.val_interval': steps}
    logging = {'default_hooks.logger.interval': 10, **short}
    jobs = [_data_job('source', 60), _data_job('transfer', 40)]
    for training in dict.fromkeys(training for name in names for training in VARIANTS[name].trainings()):
        jobs += _training_jobs(TRAININGS[training], work_dir, {'default_hooks.checkpoint.interval': 50, **logging})
    for name in names:
        variant = VARIANTS[name]
        backbone: Path | None = None
        needs: tuple[str, ...] = ('data/transfer',)
        if variant.result:
            jobs.append(_export_job(name, variant, work_dir))
            backbone, needs = work_dir / name / 'backbone.pth', ('data/transfer', f'{name}/export')
        jobs += transfer_jobs(name, backbone, sets, work_dir, needs, logging, PROTOCOL)
    return jobs


def variant_row(name: str, work_dir: Path, sets: Sequence[TransferSet], seconds: Mapping[str, float]) -> Row:
    """Return a variant's row of the report.

    Args:
        name: of :data:`VARIANTS`.
        work_dir: parent of all work directories.
        sets: what was transferred to.
        seconds: job -> how long it ran.

    Raises:
        ResultError: a training that has not come to its end.
    """
    result = VARIANTS[name].result
    return suite_row(
        name,
        work_dir,
        sets,
        PROTOCOL,
        sha256_of(str(work_dir / name / 'backbone.pth')) if result else None,
        {name: seconds_of(name, seconds)},
        upstream_of(result, work_dir) if result else None,
    )


def stage_dir(work_dir: Path, training: str) -> Path:
    """Return the work directory of a training."""
    return work_dir / 'stages' / training


def upstream_of(name: str, work_dir: Path) -> dict[str, dict[str, Any]]:
    """Return a training's last validation, source by source.

    Args:
        name: of :data:`TRAININGS`.
        work_dir: parent of all work directories.

    Raises:
        ResultError: it has not come to its end.
    """
    sources = Config.fromfile(str(CONFIGS / TRAININGS[name].config)).sources
    return read_upstream(stage_dir(work_dir, name), sources)


def seconds_of(name: str, seconds: Mapping[str, float]) -> float:
    """Return how long a variant's trainings and transfers took, those that it shares with others included.

    Args:
        name: of :data:`VARIANTS`.
        seconds: job -> how long it ran.
    """
    own = tuple(f'stages/{training}' for training in VARIANTS[name].trainings())
    return sum(took for job, took in seconds.items() if job.startswith((f'{name}/', *own)))


def _with_needs(training: str) -> list[str]:
    before = [need.split('/')[1] for need in TRAININGS[training].needs]
    return list(dict.fromkeys([*(name for need in before for name in _with_needs(need)), training]))


def _training_jobs(training: Training, work_dir: Path, options: Mapping[str, object]) -> list[Job]:
    folders = {name: stage_dir(work_dir, name) for name in TRAININGS}
    read = {key: value.format(**folders) for key, value in training.reads.items()}
    job = training_job(
        f'stages/{training.name}',
        CONFIGS / training.config,
        folders[training.name],
        {**options, **read},
        ('data/source', *training.needs),
        training.seconds,
    )
    exported = [_export(f'{job.name}/export', job.name, folders[training.name])] if training.export else []
    return [job, *exported]


def _export_job(name: str, variant: Variant, work_dir: Path) -> Job:
    assert variant.result is not None
    more = ('--expanded',) if variant.expanded else ()
    folder = stage_dir(work_dir, variant.result)
    return _export(f'{name}/export', f'stages/{variant.result}', folder, work_dir / name / 'backbone.pth', more)


def _export(name: str, stage: str, folder: Path, out: Path | None = None, more: tuple[str, ...] = ()) -> Job:
    out = out or folder / 'backbone.pth'
    command = (sys.executable, 'tools/export_backbone.py', str(folder), '--out', str(out), *more)
    return Job(name, command, (stage,), seconds=2, outputs=(out,))


def _data_job(role: str, seconds: float) -> Job:
    names = tuple(name for name, entry in CATALOG.items() if entry.role == role)
    markers = tuple(DATA / name / MARKER for name in names)
    command = (sys.executable, 'tools/make_mini.py', '--only', *names)
    return Job(f'data/{role}', command, seconds=seconds, inputs=(Path(catalog.__file__),), outputs=markers)
