"""The slides' variants on small data as jobs, from writing the data to the last transfer, and as rows of a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from xlearner_mm import mini, photos
from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.experiments.variants import MINI, Family, Training
from xlearner_mm.pipeline.job import Job, config_files, training_job
from xlearner_mm.report.results import read_upstream
from xlearner_mm.report.rows import Backbone, Budget, Row, Upstream
from xlearner_mm.transfer.protocol import Protocol, TransferSet
from xlearner_mm.transfer.rows import RANDOM_START, suite_row
from xlearner_mm.transfer.suite import transfer_jobs

LOAD_IN_PROCESS = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False}
"""Settings of the pre-trainings, which run side by side, one a core.

A further process would cost more than it loads: sending 64 px images between processes takes longer than reading them.
Every image has its own seed, so that results do not depend on it.
"""
PROTOCOL = Protocol()
"""Protocol of all variants: frozen, as in the configs of the transfer sets, classification by logistic regression."""


def variant_jobs(
    names: Sequence[str],
    work_dir: Path,
    sets: Sequence[TransferSet],
    steps: int | None = None,
    family: Family = MINI,
    seed: int = 0,
) -> list[Job]:
    """Return all jobs of some variants, from writing the data to the last transfer; shared trainings only once.

    Args:
        names: of the family's variants.
        work_dir: parent of all work directories.
        sets: to transfer to.
        steps: length of every training. Defaults to None: as in the configs.
        family: data sets and variants. Defaults to XL-Mini's.
        seed: of all trainings and transfers. Defaults to 0.

    Raises:
        KeyError: an unknown variant.
    """
    common: dict[str, object] = {'default_hooks.logger.interval': 10}
    common |= {} if steps is None else {'train_cfg.max_iters': steps, 'train_cfg.val_interval': steps}
    seeded = {'randomness.seed': seed} if seed else {}  # 0 is the configs' own
    jobs = _data_jobs(family)
    for name in dict.fromkeys(training for variant in names for training in family.trainings_of(variant)):
        training, folder = family.trainings[name], stage_dir(work_dir, name)
        shortened = {} if steps is None else training.shortened
        options = {**training.options, **LOAD_IN_PROCESS, 'default_hooks.checkpoint.interval': 50}
        options |= {**common, **shortened, **seeded}
        jobs.append(_training_job(family, training, work_dir, options))
        if training.export:
            jobs.append(_export_job(f'stages/{name}/export', name, folder, folder / 'backbone.pth'))
        jobs.append(_budget_job(family, training, work_dir, options))
    for name in names:
        variant = family.variants[name]
        backbone: Path | None = None
        needs: tuple[str, ...] = ('data/transfer',)
        if variant.result:
            backbone, needs = work_dir / name / 'backbone.pth', ('data/transfer', f'{name}/export')
            more = ('--expanded',) if variant.expanded else ()
            folder = stage_dir(work_dir, variant.result)
            jobs.append(_export_job(f'{name}/export', variant.result, folder, backbone, more))
        jobs += transfer_jobs(name, backbone, sets, work_dir, needs, common, PROTOCOL, first_seed=seed)
    return jobs


def variant_row(
    name: str, work_dir: Path, sets: Sequence[TransferSet], seconds: Mapping[str, float], family: Family = MINI
) -> Row:
    """Return a variant's row of the report.

    Args:
        name: of the family's variants.
        work_dir: parent of all work directories.
        sets: transferred to.
        seconds: job -> duration.
        family: data sets and variants. Defaults to XL-Mini's.

    Raises:
        ResultError: an unfinished training.
    """
    result, path = family.variants[name].result, str(work_dir / name / 'backbone.pth')
    return suite_row(
        name,
        work_dir,
        sets,
        PROTOCOL,
        Backbone(path, sha256_of(path)) if result else RANDOM_START,
        {name: seconds_of(name, seconds, family)},
        upstream_of(result, work_dir, family) if result else None,
        budget_of(name, work_dir, family),
    )


def stage_dir(work_dir: Path, training: str) -> Path:
    """Return the work directory of a training."""
    return work_dir / 'stages' / training


def upstream_of(name: str, work_dir: Path, family: Family = MINI) -> Upstream:
    """Return the last validation of one of the family's trainings, source by source.

    Raises:
        ResultError: an unfinished training.
    """
    sources = Config.fromfile(str(family.configs / family.trainings[name].config)).sources
    return read_upstream(stage_dir(work_dir, name), sources)


def budget_of(name: str, work_dir: Path, family: Family = MINI) -> Budget:
    """Return the cost of all trainings of a variant, including shared ones."""
    counted = [json.loads(_budget_file(work_dir, training).read_text()) for training in family.trainings_of(name)]
    return Budget(
        steps=sum(training['steps'] for training in counted),
        tflops=sum(training['steps'] * training['flops_per_step'] for training in counted) / 1e12,
    )


def seconds_of(name: str, seconds: Mapping[str, float], family: Family = MINI) -> float:
    """Return the duration of all trainings and transfers of a variant, including shared ones."""
    own = {f'stages/{training}' for training in family.trainings_of(name)}
    exports = {f'{training}/export' for training in own}
    return sum(took for job, took in seconds.items() if job in own | exports or job.startswith(f'{name}/'))


def _training_job(family: Family, training: Training, work_dir: Path, options: Mapping[str, object]) -> Job:
    folders = {name: stage_dir(work_dir, name) for name in family.trainings}
    read = {key: value.format(**folders) for key, value in training.reads.items()}
    return training_job(
        f'stages/{training.name}',
        family.configs / training.config,
        folders[training.name],
        {**options, **read},
        ('data/source', *family.needs(training.name)),
        training.seconds,
    )


def _budget_job(family: Family, training: Training, work_dir: Path, options: Mapping[str, object]) -> Job:
    """Return a dry run of the training, which counts the cost of a step."""
    config, out = family.configs / training.config, _budget_file(work_dir, training.name)
    start = (sys.executable, 'tools/train.py', str(config), '--dry-run', '--json', str(out), '--cfg-options')
    command = (*start, *(f'{key}={value}' for key, value in options.items()))
    inputs = tuple(config_files(config))
    return Job(f'budget/{training.name}', command, ('data/source',), seconds=5, inputs=inputs, outputs=(out,))


def _budget_file(work_dir: Path, training: str) -> Path:
    return work_dir / 'budget' / f'{training}.json'


def _export_job(name: str, training: str, folder: Path, out: Path, more: tuple[str, ...] = ()) -> Job:
    command = (sys.executable, 'tools/export_backbone.py', str(folder), '--out', str(out), *more)
    return Job(name, command, (f'stages/{training}',), seconds=2, outputs=(out,))


def _data_jobs(family: Family) -> list[Job]:
    """Return the jobs that write XL-Mini, or check XL-Photo, whose repositories a user clones."""
    jobs = []
    for role, seconds in (('source', 60), ('transfer', 40)):
        if family.name == MINI.name:
            folders = {name: Path('data/xl_mini', name) for name, own in mini.CATALOG.items() if own.role == role}
            start = (sys.executable, 'tools/make_mini.py', '--only', *folders)
            outputs = tuple(folder / mini.MARKER for folder in folders.values())
            jobs.append(
                Job(f'data/{role}', start, seconds=seconds, inputs=(Path(mini.catalog.__file__),), outputs=outputs)
            )
        else:
            sets = {name: Path('data/xl_photo', own.folder) for name, own in photos.CATALOG.items() if own.role == role}
            start = (sys.executable, 'tools/make_photos.py', '--check', '--only', *sets)
            jobs.append(Job(f'data/{role}', start, seconds=2, outputs=tuple(sets.values()), repeat=True))
    return jobs
