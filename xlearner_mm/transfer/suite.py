"""The transfer trainings of one backbone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline.job import Job, config_files
from xlearner_mm.report.rows import SUMMARY
from xlearner_mm.tasks import OTHER_METRICS, TASK_METRICS, TaskMetric
from xlearner_mm.transfer.protocol import Protocol

SUITES = {'paper': Path('configs/transfer'), 'mini': Path('configs/mini/transfer')}
"""The folders of configs of the suites."""
COLUMNS: dict[str, Mapping[str, str]] = {
    'paper': {
        'avg_cls': 'AVG Cls',
        'cifar100': 'CIFAR-100 (top-1)',
        'det_ap50': 'PASCAL Det (AP50)',
        'seg_miou': 'PASCAL Seg (mIoU)',
        'depth_delta1': 'NYU-Depth V2 (delta1)',
    },
    'mini': SUMMARY,
}
"""The columns of the suites' reports, summaries and single sets, and their titles: the slides', and the metric."""


@dataclass(frozen=True)
class TransferSet:
    """A transfer set.

    Args:
        name: unique.
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        config: its config file.
        judged_by: the metric. Defaults to None: the task's.
        extra: whether it stands beside the paper's suite, and has no part in the summary. Defaults to False.
    """

    name: str
    task: str
    config: Path
    judged_by: TaskMetric | None = None
    extra: bool = False

    @property
    def metric(self) -> TaskMetric:
        """What it is judged by."""
        return self.judged_by or TASK_METRICS[self.task]


def transfer_sets(folder: Path, only: Collection[str] = ()) -> list[TransferSet]:
    """Return the transfer sets that a folder of configs has, in the order of the tasks.

    A config may set ``primary_metric`` to the key of its stock metric, and ``extra = True``.

    Args:
        folder: of configs named ``<task>_<set>.py``, in it or in folders ``<task>``. Where two tasks have a set of one
            name, both keep their task in it, as ``det_voc`` and ``seg_voc``.
        only: names of the sets to return. Defaults to all.

    Raises:
        FileNotFoundError: it has none.
        ConfigError: ``only`` names one that it has not, or a config names an unknown metric.
    """
    found = [
        (task, config)
        for task in TASK_METRICS
        for config in sorted([*folder.glob(f'{task}_*.py'), *folder.glob(f'{task}/{task}_*.py')])
    ]
    short = [config.stem.removeprefix(f'{task}_') for task, config in found]
    if not found:
        raise FileNotFoundError(
            f'{folder} holds no transfer config named <task>_<set>.py, task of {list(TASK_METRICS)}'
        )
    sets = [
        _transfer_set(name if short.count(name) == 1 else config.stem, task, config)
        for name, (task, config) in zip(short, found, strict=True)
    ]
    unknown = sorted(set(only) - {entry.name for entry in sets})
    if unknown:
        raise ConfigError(f'{folder} has no set {unknown}; it has {[entry.name for entry in sets]}')
    return [entry for entry in sets if not only or entry.name in only]


def _transfer_set(name: str, task: str, config: Path) -> TransferSet:
    said = _literals(config)
    key = said.get('primary_metric', TASK_METRICS[task].key)
    metrics = {metric.key: metric for metric in [*TASK_METRICS.values(), *OTHER_METRICS.values()]}
    if key not in metrics:
        raise ConfigError(f"{config}: unknown primary_metric '{key}', choose from {sorted(metrics)}")
    return TransferSet(name, task, config, metrics[key], bool(said.get('extra', False)))


def _literals(config: Path) -> dict[str, Any]:
    """Return the plain values that a text config assigns itself: parsing it whole would import its library."""
    values: dict[str, Any] = {}
    for node in ast.parse(config.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            values |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return values


def transfer_jobs(
    method: str,
    backbone: str | Path | None,
    sets: Sequence[TransferSet],
    work_dir: Path,
    needs: tuple[str, ...] = (),
    options: dict[str, object] | None = None,
    protocol: Protocol | None = None,
    branch: str | None = None,
) -> list[Job]:
    """Return the transfers of a backbone as jobs, in ``work_dir/<method>/<config name>``.

    Args:
        method: first part of the jobs' names.
        backbone: a checkpoint that holds one, or its address; None is the random start.
        sets: what to transfer to.
        work_dir: parent of all work directories.
        needs: jobs before them, such as the one that exports the backbone. Defaults to none.
        options: overrides of every config. Defaults to none.
        protocol: how to judge it; every seed has a folder ``seed_<number>`` of its own. Defaults to the standard one.
        branch: of an expansion checkpoint, the branch to transfer. Defaults to None: its only one.
    """
    protocol = protocol or Protocol()
    start: tuple[str, ...] = ('--random-start',) if backbone is None else ('--checkpoint', str(backbone))
    start += () if branch is None else ('--branch', branch)
    return [
        _transfer_job(method, start, entry, work_dir, needs, options or {}, protocol, seed)
        for seed in range(protocol.seeds)
        for entry in sets
    ]


def seed_folder(work_dir: Path, method: str, entry: TransferSet, seed: int) -> Path:
    """Return the work directory of one set and seed of :func:`transfer_jobs`."""
    return work_dir / method / entry.config.stem / f'seed_{seed}'


def _transfer_job(
    method: str,
    start: tuple[str, ...],
    entry: TransferSet,
    work_dir: Path,
    needs: tuple[str, ...],
    options: dict[str, object],
    protocol: Protocol,
    seed: int,
) -> Job:
    folder = seed_folder(work_dir, method, entry, seed)
    command = (sys.executable, 'tools/transfer_set.py', str(entry.config), *start, *protocol.arguments(seed))
    command += ('--set-name', entry.name, '--work-dir', str(folder), '--features', str(work_dir / method / 'features'))
    if options:
        command += ('--cfg-options', *(f'{key}={value}' for key, value in options.items()))
    return Job(
        f'{method}/{entry.config.stem}/seed_{seed}',
        command,
        needs,
        entry.metric.seconds,
        inputs=(*config_files(entry.config), *(Path(start[1]) for _ in start[1:2])),
        folder=folder,
        outputs=(folder / 'result.json',),
        resume=('--resume',),
    )
