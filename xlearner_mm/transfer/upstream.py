"""What a training reached on its own sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlearner_mm.transfer.results import read_results


def read_upstream(folder: Path, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return source -> ``{'metric', 'value'}`` of a stage's last validation, in percent.

    Stock detection metrics give nothing where nothing at all is detected: that is 0, as in ``sources/mean``.
    Where the squeeze has measured a source's fidelity (``<source>/fidelity``: what is left of the expanded backbone's
    metric when the frozen heads read the student), it stands there as ``'fidelity'``.

    Args:
        folder: the stage's work directory.
        sources: source -> settings, of which ``primary_metric``, ``primary_scale`` and ``val_evaluator`` are read.

    Raises:
        ResultError: no validation, or none of a source.
    """
    results = read_results(folder)
    metrics = results.metrics()
    upstream = {}
    for name, source in sources.items():
        metric = source.get('primary_metric')
        if metric:
            fidelity = f'{name}/fidelity'
            found_nothing = not any(key.startswith(f'{name}/') for key in metrics if key != fidelity)
            if found_nothing and source.get('val_evaluator') is not None:
                value = 0.0
            else:
                value = results.metric(f'{name}/{metric}', source.get('primary_scale', 1.0))
            upstream[name] = {'metric': metric, 'value': round(value, 2)}
            if fidelity in metrics:
                upstream[name]['fidelity'] = round(metrics[fidelity], 2)
    return upstream
