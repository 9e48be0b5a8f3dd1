"""The row of a backbone that a suite has judged: what its transfers have left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.results import ResultError
from xlearner_mm.transfer.scores import Row, make_row, make_score
from xlearner_mm.transfer.suite import TransferSet, seed_folder
from xlearner_mm.transfer.transfer_result import read_result


def suite_row(
    name: str,
    work_dir: Path,
    sets: Sequence[TransferSet],
    protocol: Protocol,
    sha256: str | None,
    seconds: Mapping[str, float] | None = None,
    upstream: Mapping[str, Mapping[str, Any]] | None = None,
) -> Row:
    """Return the row of a report; a set that has failed or not been run has no value.

    Args:
        name: of the row; its transfers are in ``work_dir/<name><protocol's suffix>``.
        work_dir: parent of all rows' folders.
        sets: all sets of the suite, also those left out this time.
        protocol: how the backbone is judged.
        sha256: of its checkpoint: results of another one, which an earlier call has left, don't count. None is the
            random start.
        seconds: job -> how long it ran. Defaults to unknown.
        upstream: what it reached on its own sources, see :func:`~xlearner_mm.transfer.upstream.read_upstream`. Defaults
            to none.

    Raises:
        ResultError: a transfer that lacks the set's metric, or none that has come to its end.
    """
    found = {
        entry.name: [
            result
            for seed in range(protocol.seeds)
            if (result := read_result(seed_folder(work_dir, name + protocol.suffix, entry, seed))) is not None
            and result['sha256'] == sha256
        ]
        for entry in sets
    }
    first = next((result for results in found.values() for result in results), None)
    if first is None:
        raise ResultError(f"no transfer of '{name}' in {work_dir} has come to its end: see the logs there")
    return make_row(
        name,
        {
            entry.name: make_score(
                entry.task, entry.metric.key, [_value(entry, result) for result in found[entry.name]], entry.extra
            )
            for entry in sets
        },
        upstream=upstream,
        params_m=round(first['backbone_parameters'] / 1e6, 4),
        flops_g=round(first['backbone_flops'] / 1e9, 4),
        seconds=None if seconds is None else round(sum(seconds.values()), 1),
        protocol=protocol.describe(),
    )


def _value(entry: TransferSet, result: Mapping[str, Any]) -> float:
    metrics = result['metrics']
    prefix = entry.metric.key.partition('/')[0] + '/'
    if entry.task == 'det' and not any(key.startswith(prefix) for key in metrics):
        return 0.0  # stock detection metrics give nothing where nothing at all is detected
    if entry.metric.key not in metrics:
        raise ResultError(f"the transfer to '{entry.name}' has no metric '{entry.metric.key}', but {sorted(metrics)}")
    return float(metrics[entry.metric.key]) * entry.metric.scale
