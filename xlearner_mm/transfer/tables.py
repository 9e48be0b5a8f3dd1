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

_UNLIMITED = 10_000  # columns


@dataclass(frozen=True)
class Table:
    """Cells as they are shown.

    Args:
        header: titles of the columns.
        lines: as many cells in each as the header has.
        best: (line, column) of the cells that are set off. Defaults to none.
        faint: lines that stand back, such as the paper's among measured ones. Defaults to none.
    """

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    faint: frozenset[int] = frozenset()

    def numeric(self, column: int) -> bool:
        """Return whether a column holds numbers and dashes only."""
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


def csv_text(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """Return comma-separated values; what is None is left empty."""
    out = io.StringIO()
    csv.writer(out, lineterminator='\n').writerows([header, *lines])
    return out.getvalue()


def json_text(content: Mapping[str, Any]) -> str:
    """Return indented JSON with its letters as they are."""
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def print_table(table: Table, title: str, console: Console | None = None) -> None:
    """Print a table in the terminal.

    Args:
        table: what.
        title: what stands above it.
        console: where to. Defaults to None: standard output.
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
