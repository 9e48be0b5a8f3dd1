"""A backbone's transfers to all sets of a suite, and its row in the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path

import torch

from xlearner_mm.checkpoint import resolve_checkpoint
from xlearner_mm.config.options import parse_option, read_config
from xlearner_mm.errors import USER_ERRORS, CheckpointError, ConfigError, print_error
from xlearner_mm.export.start import read_start
from xlearner_mm.nearest_name import nearest
from xlearner_mm.pipeline import JobRunner
from xlearner_mm.pipeline.runner import INTERRUPTED
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.report import update_report
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.row_names import RANDOM_START, Backbone, claim_name, row_name
from xlearner_mm.transfer.suite import COLUMNS, SUITES, TransferSet, transfer_jobs, transfer_sets
from xlearner_mm.transfer.suite_row import suite_row

SCRATCH = 'scratch'
"""In place of a checkpoint: the random start."""
# A store whose client is not installed ends in an ImportError that says what to install.
_EXPLAINED = (*USER_ERRORS, ImportError)
_LIBRARIES = {'cls': 'mmpretrain', 'det': 'mmdet', 'seg': 'mmseg', 'depth': 'mmseg'}


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
    """Transfer a backbone to the sets of a suite; a call that was interrupted, or in which some failed, is continued.

    Args:
        checkpoint: what holds the backbone, its address in a store, a work directory, the config of a
            :class:`~xlearner_mm.transfer.run_suite.Baseline`, or ``'scratch'``.
        suite: of :data:`~xlearner_mm.transfer.suite.SUITES`. Defaults to ``'paper'``.
        only: names of the sets to run. Defaults to all.
        name: of the row in the report; that of another checkpoint is refused. Defaults to one made of the checkpoint's
            path and the branch, and of the digest where that is another's.
        protocol: how the backbone is judged. Seeds that an earlier call has run count as well. Defaults to the standard
            protocol.
        work_dir: where everything goes. Defaults to ``work_dirs/transfer_<suite>``.
        workers: how many transfers run at once. Defaults to one per GPU, or one.
        branch: of an expansion checkpoint. Defaults to its only one, or all of several, with their links.
        paper: names of the slides' rows to set beside. Defaults to those that are there.
        options: ``KEY=VALUE`` overrides of every config; they are part of the protocol. Defaults to none.

    Returns:
        The exit status: 0, 1 where something failed, 130 after an interruption.
    """
    protocol = replace(protocol or Protocol(), options=tuple(options))
    work_dir = work_dir or Path('work_dirs') / f'transfer_{suite}'
    # A copy of this process can use no GPU that this one has looked for.
    fork = sys.platform == 'linux' and not torch.cuda.is_available()
    if fork:
        torch.set_num_threads(1)  # nor has it this one's pool of threads; it makes its own
    try:
        if checkpoint.endswith('.py'):
            baseline = Baseline.read(checkpoint)
            checkpoint, name = baseline.checkpoint, name or baseline.name
            paper = paper if paper is not None else baseline.paper or None
        _check(checkpoint, branch, workers, options)
        sets = transfer_sets(SUITES[suite])
        chosen = transfer_sets(SUITES[suite], only)
        paper_rows(paper or [])
        start = None if checkpoint == SCRATCH else read_start(checkpoint, branch)
        backbone = RANDOM_START if start is None else Backbone(start.checkpoint, start.sha256, branch)
        usual = row_name(checkpoint, branch)
        claimed = claim_name(work_dir, backbone, protocol, usual, name)
    except _EXPLAINED as error:
        return print_error(error)
    if name is None and claimed != usual:
        print(f"'{usual}' is another checkpoint's row: that of {backbone} is '{claimed}'")
    name = claimed
    folder = name + protocol.suffix
    jobs = transfer_jobs(
        folder,
        start.checkpoint if start else None,
        chosen,
        work_dir,
        options=dict(option.partition('=')[::2] for option in options),
        protocol=protocol,
        branch=branch,
    )
    if fork:
        _import_for_all(chosen)
    devices = visible_devices()
    runner = JobRunner(jobs, work_dir / folder, workers or len(devices) or 1, fork, devices=devices)
    outcome = runner.run()
    if outcome.status == INTERRUPTED:
        return outcome.status
    if outcome.failed:
        failed = ', '.join(outcome.failed)
        print(f'{len(outcome.failed)} of {len(jobs)} failed: {failed}; see their logs, then', file=sys.stderr)
        print('repeat the command: it runs these alone', file=sys.stderr)
    try:
        seconds = {job: record.seconds for job, record in runner.states.records.items()}  # of all calls, as the values
        row = suite_row(name, work_dir, sets, protocol, backbone, seconds)
        report = update_report(work_dir, [row], paper, titles=COLUMNS[suite])
    except ConfigError as error:
        print_error(error)
        return outcome.status or 1
    report.show()
    print(f'written: {work_dir}/report.md, .json, .csv, .png')
    return outcome.status


def _check(checkpoint: str, branch: str | None, workers: int | None, options: Sequence[str]) -> None:
    if workers is not None and workers < 1:
        raise ConfigError(f'workers must be at least 1, got {workers}')
    if checkpoint == SCRATCH and branch is not None:
        raise ConfigError(f"'{SCRATCH}' is a random start and has no branch '{branch}': leave the branch out")
    for option in options:
        parse_option(option)


def _import_for_all(sets: Sequence[TransferSet]) -> None:
    """Import once, in the process that is copied, what every job would import for itself."""
    for task in {entry.task for entry in sets}:
        import_module(f'{_LIBRARIES[task]}.datasets')
        import_module(f'{_LIBRARIES[task]}.models')
    import_module('xlearner_mm.transfer.transfer_set')


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = [name for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(number) for number in range(count)]


@dataclass(frozen=True)
class Baseline:
    """A published backbone, as a config in ``configs/transfer/baselines`` describes it.

    Args:
        checkpoint: the file as published, or its address.
        name: of its row.
        paper: rows of the slides to set beside. Defaults to none.
    """

    checkpoint: str
    name: str
    paper: tuple[str, ...] = ()

    @classmethod
    def read(cls, config: str | Path) -> Baseline:
        """Return what a config describes.

        Args:
            config: a Python config that sets ``checkpoint`` and ``name``.

        Raises:
            ConfigError: an unknown setting, a missing checkpoint, or a row that the slides do not have.
        """
        settings = read_config(str(config)).to_dict()
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"{config}: a baseline has no setting '{name}'{nearest(name, known)}")
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
