"""One method's row of a report: scores per transfer set, over seeds, and what sums them up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

Score = dict[str, Any]
Row = dict[str, Any]

SUMMARY = {'avg_cls': 'AVG Cls', 'det_ap50': 'AP50', 'seg_miou': 'mIoU', 'depth_delta1': 'delta1'}
"""Columns of a row that sum up the tasks, and their titles where a suite has none of its own."""
SUMMARY_TASKS = {'avg_cls': 'cls', 'det_ap50': 'det', 'seg_miou': 'seg', 'depth_delta1': 'depth'}
PAPER = 'paper'
"""A row's ``source`` when it was not measured here but stands in the paper's slides."""


@dataclass(frozen=True)
class Budget:
    """What it took to train a backbone, from its sources on.

    Args:
        steps: optimizer steps of all its trainings.
        tflops: of their forward and backward passes, in trillions; a multiply-add is two.
    """

    steps: int
    tflops: float


def make_score(
    task: str,
    metric: str,
    values: float | Sequence[float],
    extra: bool = False,
    seeds: Sequence[int] | None = None,
) -> Score:
    """Return what one method reached on one transfer set.

    Args:
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        metric: key of the stock metric, such as ``'accuracy/top1'``.
        values: in percent, one per seed. None at all is a set that failed or was left out: it shows as ``-``.
        extra: of a set that stands beside the paper's suite (COCO, ADE20K): it has a column of its own and no part in
            the summary. Defaults to False.
        seeds: of the values. Defaults to None: 0, 1, ...
    """
    numbers = [float(values)] if isinstance(values, (int, float)) else [float(value) for value in values]
    score: Score = {'task': task, 'metric': metric, 'value': round(fmean(numbers), 2) if numbers else None}
    if len(numbers) > 1:
        score |= {'values': [round(value, 4) for value in numbers], 'std': round(stdev(numbers), 2)}
        score['seeds'] = list(range(len(numbers)) if seeds is None else seeds)
    if extra:
        score['extra'] = True
    return score


def make_row(
    method: str,
    transfer: Mapping[str, Score],
    *,
    upstream: Mapping[str, Mapping[str, Any]] | None = None,
    params_m: float | None = None,
    flops_g: float | None = None,
    seconds: float | None = None,
    budget: Budget | None = None,
    protocol: Mapping[str, Any] | None = None,
    backbone: Mapping[str, Any] | None = None,
) -> Row:
    """Return a method's row of ``report.json``; all metrics in percent.

    Args:
        method: its name.
        transfer: set -> its score, as :func:`make_score` makes it, for *every* set of the suite: a summary with a set
            that has no value is none (``-``), for a mean over the rest would be another number.
        upstream: source -> ``{'metric', 'value'}``, and ``'fidelity'`` where the squeeze has measured it. Defaults to
            none.
        params_m: learnable values of the backbone, in millions. Defaults to unknown.
        flops_g: multiply-adds for one image of 224 x 224, in billions. Defaults to unknown.
        seconds: how long all its trainings took. Defaults to unknown.
        budget: what training the backbone took. Defaults to unknown.
        protocol: how the backbone was judged: ``{'frozen': bool, 'probe': str, 'data_fraction': float,
            'seeds': int | str}``; ``seeds`` is ``'1-3'`` where sets differ in it. Rows of different protocols are told
            apart in every table. Defaults to unknown.
        backbone: whose row it is: ``{'checkpoint': str, 'sha256': str | None, 'branch': str | None}``. Defaults to
            unknown.

    Returns:
        A row that JSON can hold. ``std`` has the standard deviation of every summary over the seeds, ``fidelity``
        the mean over the sources that have one.
    """
    summaries = {column: _summary(transfer, task) for column, task in SUMMARY_TASKS.items()}
    row: Row = {
        'method': method,
        'upstream': {name: dict(values) for name, values in (upstream or {}).items()},
        'transfer': {name: dict(score) for name, score in transfer.items()},
        **{column: _mean(values) for column, values in summaries.items()},
        'params_m': params_m,
        'seconds': seconds,
    }
    deviations = {column: round(stdev(values), 2) for column, values in summaries.items() if len(values) > 1}
    fidelities = [values['fidelity'] for values in row['upstream'].values() if 'fidelity' in values]
    optional = {
        'std': deviations,
        'fidelity': _mean(fidelities),
        'flops_g': flops_g,
        'steps': budget and budget.steps,
        'train_tflops': budget and round(budget.tflops, 3),
        'protocol': dict(protocol) if protocol else None,
        'backbone': dict(backbone) if backbone else None,
    }
    return row | {key: value for key, value in optional.items() if value not in (None, {})}


def is_paper(row: Mapping[str, Any]) -> bool:
    """Return whether a row's numbers are the paper's."""
    return row.get('source') == PAPER


def identity(row: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """Return what a row of one report is known by: whose it is, the method, and the protocol but for its seeds."""
    protocol = {key: value for key, value in (row.get('protocol') or {}).items() if key != 'seeds'}
    return row.get('source'), row['method'], json.dumps(protocol, sort_keys=True)


def _summary(transfer: Mapping[str, Score], task: str) -> list[float]:
    """Return the mean over a task's sets, one number per seed; none where a set has no value.

    Sets that were run with differing seeds are not paired: their mean is one number then.
    """
    scores = [score for score in transfer.values() if score['task'] == task and not score.get('extra')]
    if any(score['value'] is None for score in scores):
        return []
    runs = [score.get('values', [score['value']]) for score in scores]
    if len({tuple(score.get('seeds', ())) for score in scores}) > 1:
        runs = [[score['value']] for score in scores]
    return [fmean(values) for values in zip(*runs, strict=True)]


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 2) if values else None


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
