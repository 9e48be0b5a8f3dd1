"""The tasks of transfer sets: one entry per task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A stock metric.

    Args:
        key: in the results of the stock evaluator.
        label: name in papers.
        scale: factor that converts it to percent. Defaults to 1.
        in_column: whether its sets count in the mean of their task's column, as it is on that scale. Defaults to True.
    """

    key: str
    label: str
    scale: float = 1.0
    in_column: bool = True


@dataclass(frozen=True)
class Task:
    """A task of transfer sets.

    Args:
        library: package with the task's stock models and datasets.
        metric: default metric of the task's sets.
        column: key of the report column with the mean over the task's sets.
        column_title: title of that column.
        name: name in headings.
        seconds: approximate duration of one transfer of XL-Mini on one core.
        other_metrics: metrics that the config of a set may select with ``primary_metric``. Defaults to none.
    """

    library: str
    metric: Metric
    column: str
    column_title: str
    name: str
    seconds: float
    other_metrics: tuple[Metric, ...] = ()


TASKS = {
    'cls': Task(
        library='mmpretrain',
        metric=Metric('accuracy/top1', 'top-1'),
        column='avg_cls',
        column_title='AVG Cls',
        name='Classification',
        seconds=20.0,
        other_metrics=(Metric('single-label/recall', 'mean per class'),),
    ),
    'det': Task(
        library='mmdet',
        metric=Metric('pascal_voc/AP50', 'AP50', 100.0),
        column='det_ap50',
        column_title='AP50',
        name='Detection',
        seconds=25.0,
        other_metrics=(
            Metric('coco/bbox_mAP_50', 'AP50', 100.0),
            Metric('coco/bbox_mAP', 'AP', 100.0, in_column=False),
        ),
    ),
    'seg': Task(
        library='mmseg',
        metric=Metric('mIoU', 'mIoU'),
        column='seg_miou',
        column_title='mIoU',
        name='Segmentation',
        seconds=18.0,
    ),
    'depth': Task(
        library='mmseg',
        metric=Metric('d1', 'delta1', 100.0),
        column='depth_delta1',
        column_title='delta1',
        name='Depth',
        seconds=40.0,
    ),
}
"""Tasks by their key, which starts the file names of transfer configs; reports list them in this order."""

METRICS = {metric.key: metric for task in TASKS.values() for metric in (task.metric, *task.other_metrics)}
"""All known metrics by key."""
