"""The tables of the paper's slides, as data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from rich.console import Console

from xlearner_mm.errors import ConfigError
from xlearner_mm.report.rows import PAPER, SUMMARY, Row, Score
from xlearner_mm.report.tables import Table, csv_text, json_text, markdown, print_table

_CELL = re.compile(r'(?P<value>\d+\.\d+)(?P<mark>\*?)(?: \((?P<delta>[+-]\d+\.\d+)\))?')


@dataclass(frozen=True)
class PaperCell:
    """One cell of a table of the slides.

    Args:
        text: as printed, such as ``'77.1* (+1.4)'``.
        value: its number. Defaults to None: words, marks or dashes.
        mark: ``'*'``, which the slides do not explain. Defaults to ``''``.
        delta: printed difference from the table's base line. Defaults to None.
    """

    text: str
    value: float | None = None
    mark: str = ''
    delta: float | None = None

    @classmethod
    def parse(cls, text: str) -> PaperCell:
        """Return the cell with a text."""
        found = _CELL.fullmatch(text)
        if not found:
            return cls(text)
        delta = found['delta']
        return cls(text, float(found['value']), found['mark'], None if delta is None else float(delta))


@dataclass(frozen=True)
class PaperTable:
    """One table of the slides.

    Args:
        name: unique.
        title: caption.
        observation: its number in the slides, such as ``'O1'``.
        header: titles of the columns.
        lines: cells, as many per line as the header has.
        groups: titles over several columns: title -> first and last column.
        base: line that the cells' ``delta`` refers to; None if there are none.
    """

    name: str
    title: str
    observation: str
    header: tuple[str, ...]
    lines: tuple[tuple[PaperCell, ...], ...]
    groups: dict[str, tuple[str, str]]
    base: int | None

    def texts(self) -> list[list[str]]:
        """Return header and lines as printed in the slides."""
        return [list(self.header), *([cell.text for cell in line] for line in self.lines)]

    def cell(self, line: int, column: str) -> PaperCell:
        """Return one cell."""
        return self.lines[line][self.header.index(column)]


@cache
def paper_tables() -> dict[str, PaperTable]:
    """Return name -> table, in the order of the slides."""
    return {
        name: PaperTable(
            name,
            table['title'],
            table['observation'],
            tuple(table['header']),
            tuple(tuple(PaperCell.parse(text) for text in line) for line in table['lines']),
            {title: (first, last) for title, (first, last) in table.get('groups', {}).items()},
            table.get('base'),
        )
        for name, table in _content()['tables'].items()
    }


def paper_row_names() -> list[str]:
    """Return the names of all rows that :func:`paper_rows` knows."""
    return list(_content()['rows'])


def paper_rows(names: Sequence[str] | None = None) -> list[Row]:
    """Return rows of the slides as rows of a report, named ``<name> (paper)``.

    Args:
        names: of :func:`paper_row_names`. Defaults to None: the six methods of the first table (O1).

    Raises:
        ConfigError: an unknown name.
    """
    known = _content()['rows']
    chosen = [name for name, (table, _) in known.items() if table == 'methods'] if names is None else names
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ConfigError(f"the paper's slides have no row {unknown[0]!r}, but {list(known)}")
    return [_paper_row(name, *known[name]) for name in chosen]


def _paper_row(name: str, table_name: str, line: int) -> Row:
    table = paper_tables()[table_name]
    summary: dict[str, float | None] = dict.fromkeys(SUMMARY)
    transfer, marks = {}, {}
    for column, key in _content()['columns'].items():
        cell = table.cell(line, column) if column in table.header else PaperCell('-')
        if cell.value is None:
            continue
        if key in SUMMARY:
            summary[key] = cell.value
        else:
            transfer[key] = Score('cls', 'accuracy/top1', cell.value)
        if cell.mark:
            marks[key] = cell.mark
    return Row(f'{name} (paper)', {}, transfer, summary, source=PAPER, marks=marks)


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(files(__package__).joinpath('paper_tables.yml').read_text(encoding='utf-8'))


def print_paper_tables(tables: Sequence[PaperTable], form: str, console: Console | None = None) -> None:
    """Print tables one after another.

    Args:
        tables: to print.
        form: ``'text'``, ``'markdown'``, ``'csv'`` (separated by empty lines, the first column is the table's name) or
            ``'json'`` (one object: name -> table).
        console: target. Defaults to None: standard output.
    """
    console = console or Console(soft_wrap=True)
    if form == 'text':
        for table in tables:
            print_table(_shown(table), _heading(table), console)
        return
    texts = {
        'markdown': lambda: (
            '\n\n'.join(f'**{_heading(table)}**\n\n{markdown(_shown(table))}' for table in tables) + '\n'
        ),
        'csv': lambda: '\n'.join(_csv(table) for table in tables),
        'json': lambda: json_text({table.name: _as_dict(table) for table in tables}),
    }
    console.out(texts[form](), end='', highlight=False)


def _shown(table: PaperTable) -> Table:
    header, *lines = table.texts()
    return Table(header, lines)


def _as_dict(table: PaperTable) -> dict[str, Any]:
    """Return a table with every cell parsed into value, mark and difference."""
    groups = {title: list(ends) for title, ends in table.groups.items()}
    lines = [{name: asdict(cell) for name, cell in zip(table.header, line, strict=True)} for line in table.lines]
    about = {'observation': table.observation, 'title': table.title, 'groups': groups, 'base': table.base}
    return {**about, 'lines': lines}


def _heading(table: PaperTable) -> str:
    groups = '; '.join(f'{title}: {first} to {last}' for title, (first, last) in table.groups.items())
    return f'{table.observation} ({table.name}): {table.title}' + (f' ({groups})' if groups else '')


def _csv(table: PaperTable) -> str:
    header, *lines = table.texts()
    return csv_text([['table', *header], *([table.name, *line] for line in lines)])
