"""The row of a backbone that a suite has judged: what its transfers have left on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.report.results import ResultError, read_results
from xlearner_mm.report.rows import Budget, Row, make_row, make_score
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.row_names import Backbone
from xlearner_mm.transfer.suite import TransferSet, seed_folder


def suite_row(
    name: str,
    work_dir: Path,
    sets: Sequence[TransferSet],
    protocol: Protocol,
    backbone: Backbone,
    seconds: Mapping[str, float] | None = None,
    upstream: Mapping[str, Mapping[str, Any]] | None = None,
    budget: Budget | None = None,
) -> Row:
    """Return the row of a report; a set that has failed or not been run has no value.

    Args:
        name: of the row; its transfers are in ``work_dir/<name><protocol's suffix>``.
        work_dir: parent of all rows' folders.
        sets: all sets of the suite, also those left out this time.
        protocol: how the backbone is judged; of every set, all seeds count that have been run, whatever its ``seeds``.
        backbone: whose row it is: results of another one, which an earlier call has left, don't count.
        seconds: job -> how long it ran. Defaults to unknown.
        upstream: what it reached on its own sources, see :func:`read_upstream`. Defaults
            to none.
        budget: what training it took. Defaults to unknown.

    Raises:
        ResultError: a transfer that lacks the set's metric, or none that has come to its end.
    """
    found = {entry.name: _results(work_dir / (name + protocol.suffix), entry, backbone) for entry in sets}
    first = next((result for results in found.values() for result in results.values()), None)
    if first is None:
        raise ResultError(f"no transfer of '{name}' in {work_dir} has come to its end: see the logs there")
    return make_row(
        name,
        {
            entry.name: make_score(
                entry.task,
                entry.metric.key,
                [_value(entry, result) for result in found[entry.name].values()],
                entry.extra,
                list(found[entry.name]),
            )
            for entry in sets
        },
        upstream=upstream,
        params_m=round(first['backbone_parameters'] / 1e6, 4),
        flops_g=round(first['backbone_flops'] / 1e9, 4),
        seconds=None if seconds is None else round(sum(seconds.values()), 1),
        budget=budget,
        protocol={**protocol.describe(), 'seeds': _number_of_seeds(found.values())},
        backbone=asdict(backbone),
    )


def _results(folder: Path, entry: TransferSet, backbone: Backbone) -> dict[int, dict[str, Any]]:
    """Return seed -> what a backbone's transfer has left, of all seeds that any call has run to its end."""
    seeds = sorted(int(path.name.removeprefix('seed_')) for path in (folder / entry.config.stem).glob('seed_*'))
    results = {seed: read_result(seed_folder(folder.parent, folder.name, entry, seed)) for seed in seeds}
    return {seed: result for seed, result in results.items() if result and result['sha256'] == backbone.sha256}


def _number_of_seeds(found: Iterable[Mapping[int, Any]]) -> int | str:
    """Return how many seeds every set with a value has; ``'1-3'`` where they differ in it."""
    numbers = {len(results) for results in found if results}
    return min(numbers) if len(numbers) == 1 else f'{min(numbers)}-{max(numbers)}'


def _value(entry: TransferSet, result: Mapping[str, Any]) -> float:
    metrics = result['metrics']
    prefix = entry.metric.key.partition('/')[0] + '/'
    if entry.task == 'det' and not any(key.startswith(prefix) for key in metrics):
        return 0.0  # stock detection metrics give nothing where nothing at all is detected
    if entry.metric.key not in metrics:
        raise ResultError(f"the transfer to '{entry.name}' has no metric '{entry.metric.key}', but {sorted(metrics)}")
    return float(metrics[entry.metric.key]) * entry.metric.scale


RESULT_FILE = 'result.json'


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the file, whole, as the last thing that a transfer does.

    Args:
        folder: its work directory.
        result: ``metrics`` of the test split, ``sha256`` of the checkpoint, ``backbone_parameters`` and
            ``backbone_flops``; of a probe also how it came about.
    """
    atomic_write_text(folder / RESULT_FILE, json.dumps(dict(result), indent=1) + '\n')


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return what a transfer has left; None where it has not come to its end.

    Args:
        folder: its work directory.
    """
    path = folder / RESULT_FILE
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None


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
