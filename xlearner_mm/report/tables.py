"""A table of text cells, and its four forms: Markdown, CSV, JSON and terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from xlearner_mm.report.columns import columns_of, csv_lines, number_text, score_text
from xlearner_mm.report.rows import (
    SUMMARY,
    Row,
    Upstream,
    all_sets,
    best_rows,
    comparable,
    protocols_differ,
    shared_label,
    titles_of,
)

_UNLIMITED = 10_000  # columns


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Args:
        header: titles of the columns.
        lines: cells, as many per line as the header has.
        best: (line, column) of the highlighted cells. Defaults to none.
        faint: dimmed lines, such as the paper's among measured ones. Defaults to none.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    faint: frozenset[int] = frozenset()

    def numeric(self, column: int) -> bool:
        """Return whether a column contains numbers and dashes only."""
        return bool(self.lines) and all(_is_number(line[column]) for line in self.lines)


def markdown(table: Table) -> str:
    """Return a Markdown table: the best in bold, the faint in italics."""
    lines = [
        [_emphasised(table, line, column, cell) for column, cell in enumerate(cells)]
        for line, cells in enumerate(table.lines)
    ]
    ruler = ['---:' if table.numeric(column) else '---' for column in range(len(table.header))]
    header = [_escaped(title) for title in table.header]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (header, ruler, *lines))


def csv_text(lines: Sequence[Sequence[Any]]) -> str:
    """Return comma-separated values; None becomes an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows(lines)
    return out.getvalue()


def json_text(content: Mapping[str, Any]) -> str:
    """Return indented JSON, not escaped to ASCII."""
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def print_table(table: Table, title: str, console: Console | None = None) -> None:
    """Print a table in the terminal.

    Args:
        table: the table.
        title: printed above it.
        console: target. Defaults to None: standard output.
    """
    drawn = RichTable(title=title, title_justify='left')
    for column, name in enumerate(table.header):
        drawn.add_column(name, justify='right' if table.numeric(column) else 'left', overflow='fold')
    for line, cells in enumerate(table.lines):
        styles = ['bold' if (line, column) in table.best else '' for column in range(len(cells))]
        drawn.add_row(*map(Text, cells, styles), style='dim' if line in table.faint else None)
    console = console or Console()
    if not console.is_terminal:  # a file or a pipe has no edge to fold at
        natural = Measurement.get(console, console.options.update(max_width=_UNLIMITED), drawn).maximum
        console = Console(file=console.file, width=max(natural, console.width))
    console.print(drawn)


def _emphasised(table: Table, line: int, column: int, cell: str) -> str:
    text = _escaped(cell)
    if (line, column) in table.best:
        return f'**{text}**'
    return f'*{text}*' if line in table.faint and column == 0 else text


def _escaped(cell: str) -> str:
    return cell.replace('|', r'\|').replace('*', r'\*')


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell in ('-', '/', '')


def summary_table(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> Table:
    """Return the table of :data:`~xlearner_mm.report.columns.COLUMNS`: one method per line.

    Args:
        rows: of the report.
        titles: summary or set -> title, the score columns. Defaults to the summaries.
    """
    rows = comparable(rows)
    columns = columns_of(rows, titles)
    lines = [[row.method, *(column.text(row) for column in columns)] for row in rows]
    best = {
        (line, place) for place, column in enumerate(columns, 1) if column.score for line in best_rows(rows, column.key)
    }
    faint = frozenset(line for line, row in enumerate(rows) if row.is_paper)
    return Table(['method', *(column.title for column in columns)], lines, frozenset(best), faint)


def transfer_table(rows: Sequence[Row]) -> Table:
    """Return one transfer set per line, one method per column; methods without any single set are omitted."""
    rows = [row for row in comparable(rows) if row.transfer]
    best: set[tuple[int, int]] = set()
    lines = []
    for line, (name, score) in enumerate(all_sets(rows).items()):
        lines.append([name, score.task, score.label, *(score_text(row, name) for row in rows)])
        best |= {(line, 3 + index) for index in best_rows(rows, name)}
    return Table(['set', 'task', 'metric', *titles_of(rows)], lines, frozenset(best))


def upstream_table(columns: Mapping[str, Upstream]) -> Table:
    """Return one source and metric per line, one trained network per column, with the fidelity in parentheses.

    Args:
        columns: title -> source -> score.
    """
    judged = dict.fromkeys((name, score.metric) for column in columns.values() for name, score in column.items())
    lines = [
        [name, metric, *(_source_text(column, name, metric) for column in columns.values())] for name, metric in judged
    ]
    return Table(['source', 'metric', *columns], lines)


def _source_text(column: Upstream, name: str, metric: str) -> str:
    score = column.get(name)
    if score is None or score.metric != metric:
        return '-'
    return number_text(score.value, '.1f', '' if score.fidelity is None else f' ({score.fidelity:.0f}%)')


def notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes that a reader needs to compare the rows, one sentence or two each."""
    measured = [row for row in rows if not row.is_paper]
    found = ['All values are percentages; higher is better.']
    if any(row.std or any(score.std is not None for score in row.transfer.values()) for row in measured):
        found.append('± is the standard deviation over the seeds.')
    if any(row.value(column) is None for row in comparable(measured) for column in SUMMARY):
        found.append('A dash in a summary: no set of that task, or one of them failed or was left out.')
    if any(row.steps is not None for row in measured):
        found.append(
            'Steps and train TFLOPs are those of all trainings of the backbone, from its sources on: forward and '
            'backward passes, a multiply-add being two, without validation. A pruning counts as if nothing were pruned.'
        )
    if protocols_differ(measured):
        found.append('Rows of different protocols do not compare; the best is marked within each protocol.')
    elif measured and measured[0].protocol.label != 'not recorded':
        found.append(f'Protocol of the measured rows: {shared_label(measured)}.')
    if len(measured) < len(rows):
        found.append(
            "Rows named (paper) are the numbers of the paper's slides, not measured here; they are over ten "
            'classification sets, PASCAL VOC and NYU-Depth V2, and compare with rows over these sets only. '
            "An asterisk is the slides' own mark."
        )
    return found


def rows_as_csv(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> str:
    """Return ``report.csv``: one method per line with all its numbers in percent.

    Args:
        rows: of the report.
        titles: as :func:`summary_table` takes them. Defaults to the summaries.
    """
    rows = comparable(rows)
    return csv_text(csv_lines(rows, titles, list(all_sets(rows))))
