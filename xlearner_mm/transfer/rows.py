"""The measured values of every method, out of its work directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlearner_mm.transfer.checkpoint import read_checkpoint, state_dict_of
from xlearner_mm.transfer.results import read_results
from xlearner_mm.transfer.scores import Row, Score, make_row, make_score
from xlearner_mm.transfer.suite import TransferSet

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
    transfer: dict[str, Score] = {}
    for entry in sets:
        value = read_results(work_dir / method / entry.config.stem).metric(entry.metric.key, entry.metric.scale)
        transfer[entry.name] = make_score(entry.task, entry.metric.key, value, entry.extra)
    return make_row(
        method,
        transfer,
        upstream=upstream,
        params_m=round(backbone_parameters(work_dir / method / sets[0].config.stem) / 1e6, 4),
        seconds=round(sum(value for job, value in seconds.items() if job.startswith(f'{method}/')), 1),
    )


def read_upstream(folder: Path, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return source -> ``{'metric', 'value'}`` of a stage's last validation, in percent.

    Where the squeeze has measured a source's fidelity (``<source>/fidelity``: what is left of the expanded backbone's
    metric when the frozen heads read the student), it stands there as ``'fidelity'``.

    Args:
        folder: the stage's work directory.
        sources: source -> settings, of which ``primary_metric`` and ``primary_scale`` are read.

    Raises:
        ResultError: no validation, or none of a source.
    """
    results = read_results(folder)
    metrics = results.metrics()
    upstream = {}
    for name, source in sources.items():
        metric = source.get('primary_metric')
        if metric:
            value = results.metric(f'{name}/{metric}', source.get('primary_scale', 1.0))
            upstream[name] = {'metric': metric, 'value': round(value, 2)}
            if f'{name}/fidelity' in metrics:
                upstream[name]['fidelity'] = round(metrics[f'{name}/fidelity'], 2)
    return upstream


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
