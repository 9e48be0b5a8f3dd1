"""What each task of a transfer set is judged by."""

from __future__ import annotations

from dataclasses import dataclass


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
"""What the sets of a task are judged by, unless their config names another ``primary_metric``."""
OTHER_METRICS = {
    'single-label/recall': TaskMetric('single-label/recall', 'mean per class', 1.0, 20.0),
    'coco/bbox_mAP': TaskMetric('coco/bbox_mAP', 'AP', 100.0, 25.0),
}
