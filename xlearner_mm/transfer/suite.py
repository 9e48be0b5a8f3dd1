"""The transfers of a backbone to all sets of a suite, as jobs, and its row in the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path

import torch

from xlearner_mm.checkpoint import resolve_checkpoint
from xlearner_mm.config.options import parse_option, read_config
from xlearner_mm.errors import USER_ERRORS, CheckpointError, ConfigError, print_error, refuse_unknown
from xlearner_mm.export.start import read_start
from xlearner_mm.pipeline import Job, JobRunner, can_fork
from xlearner_mm.pipeline.job import config_files
from xlearner_mm.pipeline.runner import INTERRUPTED
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.report import update_report
from xlearner_mm.report.rows import Backbone
from xlearner_mm.tasks import TASKS
from xlearner_mm.transfer.protocol import SUITES, Protocol, TransferSet, other_configs, suite_of, transfer_sets
from xlearner_mm.transfer.rows import RANDOM_START, RESULT_FILE, claim_name, claim_suite, row_name, suite_row

SCRATCH = 'scratch'
"""In place of a checkpoint: the random start."""


def transfer_jobs(
    row: str,
    checkpoint: str | Path | None,
    sets: Sequence[TransferSet],
    work_dir: Path,
    needs: tuple[str, ...] = (),
    options: Mapping[str, object] | None = None,
    protocol: Protocol | None = None,
    branch: str | None = None,
    first_seed: int = 0,
    slower: float = 1.0,
) -> list[Job]:
    """Return the transfers of a backbone as jobs, in ``work_dir/<row>/<config name>/seed_<number>``.

    Args:
        row: folder of the row and first part of the jobs' names.
        checkpoint: path or address of the checkpoint with the backbone; None is the random start.
        sets: to transfer to.
        work_dir: parent of all rows' folders.
        needs: jobs before them, such as the export of the backbone. Defaults to none.
        options: overrides of every config. Defaults to none.
        protocol: by which the backbone is judged. Defaults to the standard one.
        branch: of an expansion checkpoint, the branch to transfer. Defaults to None: its only one.
        first_seed: first of the protocol's seeds. Defaults to 0.
        slower: estimated duration of a transfer, in those of XL-Mini. Defaults to 1.
    """
    protocol = protocol or Protocol()
    start: tuple[str, ...] = ('--random-start',) if checkpoint is None else ('--checkpoint', str(checkpoint))
    start += () if branch is None else ('--branch', branch)
    features = str(work_dir / row / 'features')
    overrides = ('--cfg-options', *(f'{key}={value}' for key, value in options.items())) if options else ()
    jobs = []
    for seed in range(first_seed, first_seed + protocol.seeds):
        for entry in sets:
            folder = entry.folder(work_dir / row, seed)
            command = (sys.executable, 'tools/transfer_set.py', str(entry.config), *start, *protocol.arguments(seed))
            command += ('--set-name', entry.name, '--work-dir', str(folder), '--features', features, *overrides)
            jobs.append(
                Job(
                    f'{row}/{entry.config.stem}/seed_{seed}',
                    command,
                    needs,
                    slower * TASKS[entry.task].seconds,
                    inputs=(*config_files(entry.config), *(Path(path) for path in [checkpoint] if path)),
                    folder=folder,
                    outputs=(folder / RESULT_FILE,),
                    resume=('--resume',),
                )
            )
    return jobs


def _title(suite: str) -> str:
    """Return the name of a suite, or of a folder below its parent: several may be called alike."""
    if suite in SUITES:
        return suite
    folder = Path(suite).absolute()
    return '_'.join(filter(None, (folder.parent.name, folder.name)))


def run_suite(
    checkpoint: str,
    suite: str = 'paper',
    only: Sequence[str] = (),
    name: str | None = None,
    protocol: Protocol | None = None,
    work_dir: Path | None = None,
    workers: int | None = None,
    branch: str | None = None,
    paper: Sequence[str] | None = None,
    options: Sequence[str] = (),
) -> int:
    """Transfer a backbone to the sets of a suite; continues an earlier call that was interrupted or partly failed.

    Args:
        checkpoint: path or address of the checkpoint with the backbone, a work directory, the config of a
            :class:`Baseline`, or ``'scratch'``.
        suite: of :data:`~xlearner_mm.transfer.protocol.SUITES`, or a folder of transfer configs. Defaults to
            ``'paper'``.
        only: names of the sets to run. Defaults to all.
        name: of the row in the report, which must not belong to another checkpoint. Defaults to one derived from the
            checkpoint's path and the branch, with the digest if that belongs to another one.
        protocol: by which the backbone is judged. Seeds of earlier calls count as well. Defaults to the standard one.
        work_dir: for all output. Defaults to ``work_dirs/transfer_<suite>``; of a folder, with its parent's name.
        workers: number of concurrent transfers. Defaults to one per GPU, or one.
        branch: of an expansion checkpoint. Defaults to its only one, or all of several, with their links.
        paper: names of the slides' rows to show beside it. Defaults to those in the report.
        options: ``KEY=VALUE`` overrides of every config, part of the protocol. Defaults to none.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interruption.
    """
    protocol = replace(protocol or Protocol(), options=tuple(options))
    work_dir = work_dir or Path('work_dirs') / f'transfer_{_title(suite)}'
    fork = can_fork()
    if fork:
        torch.set_num_threads(1)  # nor can it use this process's thread pool
    try:
        if checkpoint.endswith('.py'):
            baseline = Baseline.read(checkpoint)
            checkpoint, name = baseline.checkpoint, name or baseline.name
            paper = paper if paper is not None else baseline.paper or None
        if workers is not None and workers < 1:
            raise ConfigError(f'workers must be at least 1, got {workers}')
        if checkpoint == SCRATCH and branch is not None:
            raise ConfigError(f"'{SCRATCH}' is a random start and has no branch '{branch}': omit the branch")
        overrides = dict(option.partition('=')[::2] for option in options if parse_option(option))
        chosen_suite = suite_of(suite)
        sets, chosen = transfer_sets(chosen_suite.folder), transfer_sets(chosen_suite.folder, only)
        paper_rows(paper or [])
        start = None if checkpoint == SCRATCH else read_start(checkpoint, branch)
        backbone = RANDOM_START if start is None else Backbone(start.checkpoint, start.sha256, branch)
        default = row_name(checkpoint, branch)
        claim_suite(work_dir, chosen_suite.folder)
        claimed = claim_name(work_dir, backbone, protocol, default, name)
    except (*USER_ERRORS, ImportError) as error:  # ImportError: the client of a store is not installed
        return print_error(error)
    if name is None and claimed != default:
        print(f"'{default}' is the row of another checkpoint: the row of {backbone} is '{claimed}'")
    if suite not in SUITES and (others := other_configs(chosen_suite.folder)):
        names = ', '.join(str(other.relative_to(chosen_suite.folder)) for other in others)
        print(f'no transfer sets, as they are not named <task>_<set>.py, task of {list(TASKS)}: {names}')
    row = claimed + protocol.suffix
    source = start.checkpoint if start else None
    slower = chosen_suite.slower
    jobs = transfer_jobs(
        row, source, chosen, work_dir, options=overrides, protocol=protocol, branch=branch, slower=slower
    )
    if fork:
        _import_for_all(chosen)
    devices = visible_devices()
    runner = JobRunner(jobs, work_dir / row, workers or len(devices) or 1, fork, devices=devices)
    try:
        outcome = runner.run()
    except ConfigError as error:
        return print_error(error)
    if outcome.status == INTERRUPTED:
        return outcome.status
    if outcome.failed:
        failed = ', '.join(outcome.failed)
        print(f'{len(outcome.failed)} of {len(jobs)} failed: {failed}; fix the errors in their', file=sys.stderr)
        print('logs and repeat the command: it runs only these', file=sys.stderr)
    try:
        seconds = {job: record.seconds for job, record in runner.states.records.items()}  # of all calls, like values
        measured = suite_row(claimed, work_dir, sets, protocol, backbone, seconds)
        report = update_report(work_dir, [measured], paper, titles=chosen_suite.titles)
    except ConfigError as error:
        return print_error(error)
    report.show()
    print(f'written: {work_dir}/report.md, .json, .csv, .png')
    return outcome.status


def _import_for_all(sets: Sequence[TransferSet]) -> None:
    """Import the modules of all jobs once, in the process that is forked."""
    for library in {TASKS[entry.task].library for entry in sets}:
        import_module(f'{library}.datasets')
        import_module(f'{library}.models')
    import_module('xlearner_mm.transfer.transfer_set')


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, named as in ``CUDA_VISIBLE_DEVICES``."""
    named = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(number) for number in range(count)]


@dataclass(frozen=True)
class Baseline:
    """A published backbone, described by a config in ``configs/transfer/baselines``.

    Args:
        checkpoint: the published file, or its address.
        name: of its row.
        paper: rows of the slides to show beside it. Defaults to none.
    """

    checkpoint: str
    name: str
    paper: tuple[str, ...] = ()

    @classmethod
    def read(cls, config: str | Path) -> Baseline:
        """Return the baseline of a config.

        Args:
            config: a Python config that sets ``checkpoint`` and ``name``, and possibly ``paper``.

        Raises:
            ConfigError: an unknown or missing setting, or a missing checkpoint.
            ConfigError: an unknown row of the slides.
        """
        settings = read_config(str(config)).to_dict()
        known = [field.name for field in fields(cls)]
        refuse_unknown(str(config), settings, known)
        missing = [name for name in known[:2] if not settings.get(name)]
        if missing:
            raise ConfigError(f'{config}: a baseline needs {" and ".join(missing)}')
        paper_rows(settings.get('paper', []))
        baseline = cls(settings['checkpoint'], settings['name'], tuple(settings.get('paper', ())))
        try:
            resolve_checkpoint(baseline.checkpoint)
        except CheckpointError as error:
            raise ConfigError(
                f"{config}: there is no {baseline.checkpoint}: put the published file there, or change 'checkpoint'"
            ) from error
        return baseline
