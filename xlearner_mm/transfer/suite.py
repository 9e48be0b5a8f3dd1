"""The transfer trainings of one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xlearner_mm.pipeline.job import Job
from xlearner_mm.pipeline.training import training_job


@dataclass(frozen=True)
class TaskMetric:
    """What a task is judged by.

    Args:
        key: of the stock metric.
        label: as papers call it.
        scale: factor that brings it to percent.
        seconds: about how long a transfer of XL-Mini takes on one core.
    """

    key: str
    label: str
    scale: float
    seconds: float


TASK_METRICS = {
    'cls': TaskMetric('accuracy/top1', 'top-1', 1.0, 20.0),
    'det': TaskMetric('pascal_voc/AP50', 'AP50', 100.0, 25.0),
    'seg': TaskMetric('mIoU', 'mIoU', 1.0, 18.0),
    'depth': TaskMetric('d1', 'delta1', 100.0, 40.0),
}


@dataclass(frozen=True)
class TransferSet:
    """A transfer set.

    Args:
        name: unique.
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        config: its config file.
    """

    name: str
    task: str
    config: Path


def transfer_sets(folder: Path) -> list[TransferSet]:
    """Return the transfer sets that a folder of configs has, in the order of the tasks.

    Args:
        folder: of configs named ``<task>_<set>.py``. Where two tasks have a set of one name, both keep their task in
            it, as ``det_voc`` and ``seg_voc``.

    Raises:
        FileNotFoundError: it has none.
    """
    found = [(task, config) for task in TASK_METRICS for config in sorted(folder.glob(f'{task}_*.py'))]
    short = [config.stem.removeprefix(f'{task}_') for task, config in found]
    if not found:
        raise FileNotFoundError(
            f'{folder} holds no transfer config named <task>_<set>.py, task of {list(TASK_METRICS)}'
        )
    return [
        TransferSet(name if short.count(name) == 1 else config.stem, task, config)
        for name, (task, config) in zip(short, found, strict=True)
    ]


def transfer_jobs(
    method: str,
    backbone: Path | None,
    sets: Sequence[TransferSet],
    work_dir: Path,
    needs: tuple[str, ...] = (),
    options: dict[str, object] | None = None,
) -> list[Job]:
    """Return one training per transfer set, in ``work_dir/<method>/<config name>``.

    Args:
        method: first part of the jobs' names.
        backbone: an exported backbone; None is the random start.
        sets: what to transfer to.
        work_dir: parent of all work directories.
        needs: jobs before them, such as the one that exports the backbone. Defaults to none.
        options: overrides of every config. Defaults to none.
    """
    start = {'model.backbone.init_cfg': None} if backbone is None else {'model.backbone.init_cfg.checkpoint': backbone}
    return [
        training_job(
            f'{method}/{entry.config.stem}',
            entry.config,
            work_dir / method / entry.config.stem,
            {**start, **(options or {})},
            needs,
            TASK_METRICS[entry.task].seconds,
        )
        for entry in sets
    ]
