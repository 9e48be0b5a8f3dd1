"""What of several rows may be compared: complete summaries, equal protocols, the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlearner_mm.transfer.scores import SUMMARY, SUMMARY_TASKS, Row, identity, is_paper


def all_sets(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return set -> the first score found of it: in the order of the measured rows, tasks together, extra ones last."""
    sets: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=is_paper):
        for name, score in row['transfer'].items():
            sets.setdefault(name, score)
    tasks = list(SUMMARY_TASKS.values())
    return dict(sorted(sets.items(), key=lambda item: (bool(item[1].get('extra')), tasks.index(item[1]['task']))))


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, the paper's first, with only those summaries that are over the same sets.

    A measured row that lacks a set which another measured row has gets no summary of that task: a mean over fewer
    sets is another quantity.
    """
    measured = [row for row in rows if not is_paper(row)]
    sets = all_sets(measured)
    shown = [row for row in rows if is_paper(row)]
    for row in measured:
        lacking = {
            score['task']
            for name, score in sets.items()
            if not score.get('extra') and row['transfer'].get(name, {}).get('value') is None
        }
        shown.append(row | {column: None for column, task in SUMMARY_TASKS.items() if task in lacking})
    return shown


def value_of(row: Mapping[str, Any], column: str) -> float | None:
    """Return a summary, or the value of a single set; None where the row lacks it."""
    return row[column] if column in SUMMARY else row['transfer'].get(column, {}).get('value')


def deviation_of(row: Mapping[str, Any], column: str) -> float | None:
    """Return the standard deviation over the seeds of a summary or a single set; None for one seed."""
    scores = row.get('std', {}) if column in SUMMARY else row['transfer'].get(column, {})
    return scores.get(column if column in SUMMARY else 'std')


def best_rows(rows: Sequence[Mapping[str, Any]], column: str) -> set[int]:
    """Return which rows are the best in a column, among the measured ones of each protocol.

    The paper's rows take no part, and where all are equal, or alone, none is the best.
    """
    best: set[int] = set()
    for protocol in {protocol_of(row) for row in rows if not is_paper(row)}:
        values = {
            index: value
            for index, row in enumerate(rows)
            if not is_paper(row) and protocol_of(row) == protocol and (value := value_of(row, column)) is not None
        }
        if len(set(values.values())) > 1:
            best |= {index for index, value in values.items() if value == max(values.values())}
    return best


def protocol_of(row: Mapping[str, Any]) -> str:
    """Return what makes two rows comparable: the protocol but for the number of seeds."""
    return identity(row)[2]


def protocols_differ(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the measured rows were judged in different ways."""
    return len({protocol_of(row) for row in rows if not is_paper(row)}) > 1


def titles_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the rows are called: the method, with its protocol where the rows differ in it."""
    differ = protocols_differ(rows)
    return [
        f'{row["method"]} ({protocol_label(row)})' if differ and not is_paper(row) else row['method'] for row in rows
    ]


def shared_label(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the one protocol of all measured rows in words; ``'1-3 seeds'`` where they differ in the seeds."""
    protocols = [row.get('protocol') or {} for row in rows if not is_paper(row)]
    seeds = [int(number) for protocol in protocols for number in str(protocol.get('seeds', '')).split('-') if number]
    shared = dict(protocols[0])
    if len(set(seeds)) > 1:
        shared['seeds'] = f'{min(seeds)}-{max(seeds)}'
    return protocol_label({'protocol': shared})


def protocol_label(row: Mapping[str, Any]) -> str:
    """Return a row's protocol in words, such as ``'frozen, lbfgs probe, 10% of the data, 3 seeds'``."""
    if is_paper(row):
        return "the paper's"
    protocol = dict(row.get('protocol') or {})
    if not protocol:
        return 'not recorded'
    frozen, probe = protocol.pop('frozen', None), protocol.pop('probe', None)
    fraction, seeds = protocol.pop('data_fraction', None), protocol.pop('seeds', None)
    parts = [] if frozen is None else ['frozen' if frozen else 'fine-tuned']
    parts += [f'{probe} probe'] if probe else []
    parts += [] if fraction is None else [f'{100 * fraction:g}% of the data' if fraction < 1 else 'all data']
    parts += [f'{key} {value}' for key, value in protocol.items()]
    parts += [] if seeds is None else [f'{seeds} seed{"s" if seeds != 1 else ""}']
    return ', '.join(parts)
