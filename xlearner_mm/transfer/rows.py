"""The measured values of every method, out of its work directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlearner_mm.transfer.checkpoint import read_checkpoint, state_dict_of
from xlearner_mm.transfer.results import read_results
from xlearner_mm.transfer.suite import TASK_METRICS, TransferSet

Row = dict[str, Any]

# The one set of a task whose value stands in a column of its own; classification is averaged.
_COLUMNS = {'det': 'det_ap50', 'seg': 'seg_miou', 'depth': 'depth_delta1'}
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


def build_row(
    method: str,
    work_dir: Path,
    sets: Sequence[TransferSet],
    upstream: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float],
) -> Row:
    """Return a method's row of ``report.json``; all metrics in percent.

    Args:
        method: its name; its transfers are in ``work_dir/<method>/<config name>``.
        work_dir: parent of all work directories.
        sets: the transfer sets.
        upstream: source -> ``{'metric', 'value'}``; empty for a random start.
        seconds: job -> how long it ran; those named ``<method>/...`` are the method's.

    Raises:
        ResultError: a training that has left no metrics.
        CheckpointError: a training that has left no checkpoint.
    """
    transfer: dict[str, dict[str, Any]] = {}
    for entry in sets:
        metric = TASK_METRICS[entry.task]
        value = read_results(work_dir / method / entry.config.stem).metric(metric.key, metric.scale)
        transfer[entry.name] = {'task': entry.task, 'metric': metric.key, 'value': round(value, 2)}
    return {
        'method': method,
        'upstream': dict(upstream),
        'transfer': transfer,
        'avg_cls': _mean([scores['value'] for scores in transfer.values() if scores['task'] == 'cls']),
        **{
            column: _mean([scores['value'] for scores in transfer.values() if scores['task'] == task])
            for task, column in _COLUMNS.items()
        },
        'params_m': round(backbone_parameters(work_dir / method / sets[0].config.stem) / 1e6, 4),
        'seconds': round(sum(value for job, value in seconds.items() if job.startswith(f'{method}/')), 1),
    }


def read_upstream(folder: Path, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return source -> ``{'metric', 'value'}`` of a stage's last validation, in percent.

    Args:
        folder: the stage's work directory.
        sources: source -> settings, of which ``primary_metric`` and ``primary_scale`` are read.

    Raises:
        ResultError: no validation, or none of a source.
    """
    results = read_results(folder)
    return {
        name: {
            'metric': source['primary_metric'],
            'value': round(results.metric(f'{name}/{source["primary_metric"]}', source.get('primary_scale', 1.0)), 2),
        }
        for name, source in sources.items()
        if source.get('primary_metric')
    }


def backbone_parameters(checkpoint: Path) -> int:
    """Return the number of learnable values of the backbone in a transfer's checkpoint.

    Args:
        checkpoint: the file, or the work directory whose last one is taken.

    Raises:
        CheckpointError: it cannot be read.
    """
    state = state_dict_of(read_checkpoint(str(checkpoint)))
    return sum(
        value.numel() for key, value in state.items() if key.startswith('backbone.') and not key.endswith(_STATISTICS)
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
