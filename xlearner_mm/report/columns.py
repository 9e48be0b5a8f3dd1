"""The columns of a report: one entry per column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlearner_mm.report.rows import SUMMARY, Row, protocols_differ


@dataclass(frozen=True)
class Column:
    """A column of a report's summary.

    Args:
        key: name in ``report.csv``.
        title: in the tables.
        text: cell of a row.
        shown: whether a report with these rows has the column. Defaults to always.
        score: whether it has scores, of which the best is marked. Defaults to False.
    """

    key: str
    title: str
    text: Callable[[Row], str]
    shown: Callable[[Sequence[Row]], bool] = lambda rows: True
    score: bool = False


def number_text(value: float | None, form: str, suffix: str = '') -> str:
    """Return a number as text; ``-`` for None."""
    return '-' if value is None else f'{value:{form}}{suffix}'


def score_text(row: Row, column: str) -> str:
    """Return the text of a summary or a single set, with its mark and its standard deviation."""
    deviation = row.deviation(column)
    spread = '' if deviation is None else f' ± {deviation:.1f}'
    return number_text(row.value(column), '.1f', row.marks.get(column, '') + spread)


def _score(key: str, title: str) -> Column:
    return Column(key, title, lambda row: score_text(row, key), score=True)


def _number(field: str, title: str, form: str, unit: str = '', always: bool = False) -> Column:
    """Return the column of a numeric field of :class:`Row`, shown if any row has it, or ``always``."""
    return Column(
        field,
        title,
        lambda row: number_text(getattr(row, field), form, unit),
        lambda rows: always or any(getattr(row, field) is not None for row in rows),
    )


NUMBERS = (
    _number('fidelity', 'fidelity', '.1f'),
    _number('params_m', 'params (M)', '.2f', always=True),
    _number('flops_g', 'GFLOPs', '.2f'),
    _number('steps', 'steps', 'd'),
    _number('train_tflops', 'train TFLOPs', '.2f'),
    _number('seconds', 'time', '.0f', ' s', always=True),
)
COLUMNS = (
    *(_score(key, title) for key, title in SUMMARY.items()),
    *NUMBERS,
    Column('protocol', 'protocol', lambda row: row.protocol_label, protocols_differ),
)
"""All columns in order, after the method's."""

PAPER_TITLES = {
    'avg_cls': 'AVG Cls',
    'cifar100': 'CIFAR-100 (top-1)',
    'det_ap50': 'PASCAL Det (AP50)',
    'seg_miou': 'PASCAL Seg (mIoU)',
    'depth_delta1': 'NYU-Depth V2 (delta1)',
}
"""Score columns of the paper's suite, summaries and a single set, and their titles: the slides', with the metric."""


def columns_of(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> list[Column]:
    """Return the columns of a report with these rows.

    Args:
        rows: of the report.
        titles: summary or set -> title, the score columns. Defaults to the summaries.
    """
    scores = [_score(key, title) for key, title in titles.items()]
    return scores + [column for column in COLUMNS if not column.score and column.shown(rows)]


def csv_lines(rows: Sequence[Row], titles: Mapping[str, str], sets: Sequence[str]) -> list[list[Any]]:
    """Return header and lines of ``report.csv``: one method per line with all its numbers.

    Args:
        rows: of the report.
        titles: as :func:`columns_of` takes them.
        sets: names of all transfer sets.
    """
    scores = {**{name: name for name in (*titles, *sets)}, **titles}
    sources = list(dict.fromkeys(name for row in rows for name in row.upstream))
    numbers = [column.key for column in NUMBERS]
    header = ['method', 'source', 'protocol', *(title for name in scores.values() for title in (name, f'{name}_std'))]
    header += [*(f'upstream/{name}' for name in sources), *numbers, 'sha256']
    return [
        header,
        *(
            [
                row.method,
                row.source,
                row.protocol_label,
                *(number for name in scores for number in (row.value(name), row.deviation(name))),
                *(row.upstream[name].value if name in row.upstream else None for name in sources),
                *(getattr(row, field) for field in numbers),
                row.backbone and row.backbone.sha256,
            ]
            for row in rows
        ),
    ]
