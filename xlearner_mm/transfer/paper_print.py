"""Writes the slides' tables as text, Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from xlearner_mm.transfer.paper import PaperTable
from xlearner_mm.transfer.tables import Table, csv_text, json_text, markdown, print_table


def print_paper_tables(tables: Sequence[PaperTable], form: str, console: Console | None = None) -> None:
    """Print tables one after another.

    Args:
        tables: which.
        form: ``'text'``, ``'markdown'``, ``'csv'`` (a table after an empty line, its first column the table's name) or
            ``'json'`` (one object: name -> table).
        console: where to. Defaults to None: standard output.
    """
    console = console or Console(soft_wrap=True)
    if form == 'text':
        for table in tables:
            print_table(shown(table), _heading(table), console)
        return
    texts = {
        'markdown': lambda: (
            '\n\n'.join(f'**{_heading(table)}**\n\n{markdown(shown(table))}' for table in tables) + '\n'
        ),
        'csv': lambda: '\n'.join(_csv(table) for table in tables),
        'json': lambda: json_text({table.name: as_dict(table) for table in tables}),
    }
    console.out(texts[form](), end='', highlight=False)


def shown(table: PaperTable) -> Table:
    """Return a table's cells as they stand in the slides."""
    header, *lines = table.texts()
    return Table(header, lines)


def as_dict(table: PaperTable) -> dict[str, Any]:
    """Return a table with every cell taken apart into value, mark and difference."""
    groups = {title: list(ends) for title, ends in table.groups.items()}
    lines = [{name: asdict(cell) for name, cell in zip(table.header, line, strict=True)} for line in table.lines]
    about = {'observation': table.observation, 'title': table.title, 'groups': groups, 'base': table.base}
    return {**about, 'lines': lines}


def _heading(table: PaperTable) -> str:
    groups = '; '.join(f'{title}: {first} to {last}' for title, (first, last) in table.groups.items())
    return f'{table.observation} ({table.name}): {table.title}' + (f' ({groups})' if groups else '')


def _csv(table: PaperTable) -> str:
    header, *lines = table.texts()
    return csv_text(['table', *header], [[table.name, *line] for line in lines])
