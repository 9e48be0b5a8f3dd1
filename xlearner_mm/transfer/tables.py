"""The rows of a report as tables: Markdown and terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from xlearner_mm.transfer.suite import TASK_METRICS

SUMMARY = {'avg_cls': 'AVG Cls', 'det_ap50': 'AP50', 'seg_miou': 'mIoU', 'depth_delta1': 'delta1'}
"""Columns of a row that sum up the tasks, and their titles."""

Cells = list[list[str]]


def summary_cells(rows: Sequence[Mapping[str, Any]]) -> Cells:
    """Return header and lines: a method's mean of every task, its size, and how long it took."""
    header = ['method', *SUMMARY.values(), 'params (M)', 'time']
    lines = [
        [row['method'], *(_percent(row[key]) for key in SUMMARY), f'{row["params_m"]:.2f}', f'{row["seconds"]:.0f} s']
        for row in rows
    ]
    return [header, *lines]


def transfer_cells(rows: Sequence[Mapping[str, Any]]) -> Cells:
    """Return header and lines: one transfer set a line, one method a column."""
    header = ['set', 'task', 'metric', *(row['method'] for row in rows)]
    first = rows[0]['transfer']
    lines = [
        [
            name,
            scores['task'],
            TASK_METRICS[scores['task']].label,
            *(_percent(row['transfer'][name]['value']) for row in rows),
        ]
        for name, scores in first.items()
    ]
    return [header, *lines]


def upstream_cells(columns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Cells:
    """Return header and lines: one source a line, one trained network a column.

    Args:
        columns: title -> source -> ``{'metric', 'value'}``.
    """
    sources = next(iter(columns.values()))
    lines = [
        [name, scores['metric'], *(_percent(column[name]['value']) for column in columns.values())]
        for name, scores in sources.items()
    ]
    return [['source', 'metric', *columns], *lines]


def markdown(cells: Cells) -> str:
    """Return cells as a Markdown table, the first line being the header."""
    header, *lines = cells
    ruler = ['---' if not _is_number(cell) else '---:' for cell in lines[0]] if lines else ['---'] * len(header)
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (header, ruler, *lines))


def print_table(cells: Cells, title: str, console: Console | None = None) -> None:
    """Print cells as a table in the terminal.

    Args:
        cells: the first line is the header.
        title: what stands above it.
        console: where to. Defaults to None: standard output.
    """
    header, *lines = cells
    table = Table(title=title, title_justify='left')
    for index, name in enumerate(header):
        numeric = bool(lines) and _is_number(lines[0][index])
        table.add_column(name, justify='right' if numeric else 'left', no_wrap=True)
    for line in lines:
        table.add_row(*line)
    (console or Console()).print(table)


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == '-'
