"""The slides' variants in miniature as jobs, from writing the data to the last transfer, and as rows of a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.experiments.variants import TRAININGS, VARIANTS, Training, Variant
from xlearner_mm.mini import catalog
from xlearner_mm.mini.build import MARKER
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.pipeline.job import Job, config_files, training_job
from xlearner_mm.report.rows import Budget, Row
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.row_names import RANDOM_START, Backbone
from xlearner_mm.transfer.suite import TransferSet, transfer_jobs
from xlearner_mm.transfer.suite_row import read_upstream, suite_row

CONFIGS = Path('configs/mini')
DATA = Path('data/xl_mini')
PROTOCOL = Protocol()
"""How all variants are judged: frozen, as ``configs/mini/transfer`` has it, classification by logistic regression."""


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
        shortened = {} if steps is None else TRAININGS[training].shortened
        options = {'default_hooks.checkpoint.interval': 50, **logging, **shortened}
        jobs += _training_jobs(TRAININGS[training], work_dir, options)
        jobs.append(_budget_job(TRAININGS[training], work_dir, options))
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
        _backbone(work_dir / name / 'backbone.pth') if result else RANDOM_START,
        {name: seconds_of(name, seconds)},
        upstream_of(result, work_dir) if result else None,
        budget_of(name, work_dir),
    )


def _backbone(path: Path) -> Backbone:
    return Backbone(str(path), sha256_of(str(path)))


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


def budget_of(name: str, work_dir: Path) -> Budget:
    """Return what all trainings of a variant took together, those that it shares with others included.

    Args:
        name: of :data:`VARIANTS`.
        work_dir: parent of all work directories.
    """
    counted = [json.loads(_budget_file(work_dir, training).read_text()) for training in VARIANTS[name].trainings()]
    return Budget(
        steps=sum(training['steps'] for training in counted),
        tflops=sum(training['steps'] * training['flops_per_step'] for training in counted) / 1e12,
    )


def seconds_of(name: str, seconds: Mapping[str, float]) -> float:
    """Return how long a variant's trainings and transfers took, those that it shares with others included.

    Args:
        name: of :data:`VARIANTS`.
        seconds: job -> how long it ran.
    """
    own = tuple(f'stages/{training}' for training in VARIANTS[name].trainings())
    return sum(took for job, took in seconds.items() if job.startswith((f'{name}/', *own)))


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


def _budget_job(training: Training, work_dir: Path, options: Mapping[str, object]) -> Job:
    """A dry run of the training: it counts what a step costs."""
    config, out = CONFIGS / training.config, _budget_file(work_dir, training.name)
    settings = (f'{key}={value}' for key, value in options.items())
    command = (
        sys.executable,
        'tools/train.py',
        str(config),
        '--dry-run',
        '--json',
        str(out),
        '--cfg-options',
        *settings,
    )
    inputs = tuple(config_files(config))
    return Job(f'budget/{training.name}', command, ('data/source',), seconds=5, inputs=inputs, outputs=(out,))


def _budget_file(work_dir: Path, training: str) -> Path:
    return work_dir / 'budget' / f'{training}.json'


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
