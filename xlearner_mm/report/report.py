"""The report of a comparison: ``report.json``, ``report.md``, ``report.csv`` and ``report.png``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from rich.console import Console

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.pipeline.display import duration
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.results import ResultError, TrainingResults
from xlearner_mm.report.rows import SUMMARY, Row, Upstream
from xlearner_mm.report.tables import (
    Table,
    json_text,
    markdown,
    notes,
    print_table,
    rows_as_csv,
    summary_table,
    transfer_table,
    upstream_table,
)
from xlearner_mm.typed_json import from_json, to_json

if TYPE_CHECKING:
    from xlearner_mm.report.figure import Predictions

REPORT_FILES = ('report.json', 'report.md', 'report.csv', 'report.png')
REPORT_LOCK = '.report.lock'
"""File in a work directory that locks its report and the names of its rows."""


@dataclass(frozen=True)
class _Stored:
    """The content of ``report.json``: a :class:`Report` without curves and pictures."""

    rows: list[Row]
    titles: dict[str, str] = field(default_factory=lambda: dict(SUMMARY))
    upstream: dict[str, Upstream] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Rows and their illustrations.

    Args:
        rows: one per method, as :func:`~xlearner_mm.report.rows.make_row` and
            :func:`~xlearner_mm.report.paper.paper_rows` return them.
        upstream: title -> scores of further trained networks on their sources, such as the expanded one. Defaults to
            none: the rows' own are added.
        trainings: title -> results with the losses to draw. Defaults to none.
        predictions: title -> predictions on test images. Defaults to none.
        chance: transfer set -> score of guessing, in percent. Defaults to none.
        titles: summary or set -> title, the score columns, such as
            :data:`~xlearner_mm.report.columns.PAPER_TITLES`. Defaults to the summaries.
    """

    rows: Sequence[Row]
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    trainings: Mapping[str, TrainingResults] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=lambda: SUMMARY)

    def write(self, folder: Path) -> list[Path]:
        """Write the four files atomically; return their paths."""
        from xlearner_mm.report.figure import save_figure  # matplotlib is slow to import

        data, text, values, picture = paths = [folder / name for name in REPORT_FILES]
        save_figure(picture, self.rows, self.trainings, self.predictions, self.chance, self.titles)
        atomic_write_text(text, self.to_markdown())
        atomic_write_text(values, rows_as_csv(self.rows, self.titles))
        atomic_write_text(data, json_text(self.to_dict()))
        return paths

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``report.json``: everything except curves and pictures."""
        return to_json(_Stored(list(self.rows), dict(self.titles), dict(self.upstream), dict(self.chance)))

    def to_markdown(self) -> str:
        """Return the report as text."""
        parts = ['# Transfer of the backbones', ' '.join(notes(self.rows))]
        parts += [markdown(summary_table(self.rows, self.titles))]
        transfer, upstream = transfer_table(self.rows), self.upstream_table()
        parts += ['## Every transfer set', markdown(transfer)] if transfer.lines else []
        parts += ['## The sources', markdown(upstream)] if upstream.lines else []
        total = sum(row.seconds or 0 for row in self.rows)
        parts += [f'The trainings took {duration(total)}, some of it at the same time.'] if total else []
        return '\n\n'.join([*parts, '![The report as a picture](report.png)']) + '\n'

    def show(self, console: Console | None = None) -> None:
        """Print the tables to a console, by default to standard output."""
        transfer, upstream = transfer_table(self.rows), self.upstream_table()
        if upstream.lines:
            print_table(upstream, 'Sources: validation in percent', console)
        if transfer.lines:
            print_table(transfer, 'Transfer sets: test in percent', console)
        print_table(summary_table(self.rows, self.titles), 'Summary', console)
        (console or Console()).print(*notes(self.rows), style='dim')

    def upstream_table(self) -> Table:
        """Return the table of the sources, of all networks."""
        own = {row.method: row.upstream for row in self.rows if row.upstream}
        return upstream_table({**self.upstream, **own})


def update_report(
    folder: Path,
    rows: Sequence[Row],
    paper: Sequence[str] | None = None,
    upstream: Mapping[str, Upstream] | None = None,
    trainings: Mapping[str, TrainingResults] | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    chance: Mapping[str, float] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Report:
    """Add rows to the report of a folder, write its files again, and return it.

    A row replaces the one with its method and protocol. Everything else in the report is kept, except for loss curves
    and pictures, which are drawn from the arguments. Safe for concurrent processes.

    Args:
        folder: the work directory, created if missing.
        rows: measured rows, possibly none.
        paper: names of the slides' rows to show, of :func:`~xlearner_mm.report.paper.paper_row_names`; an empty
            sequence removes them. Defaults to None: those in the report.
        upstream: as :class:`Report` has it, like all further arguments. Defaults to those in the report.
        trainings: defaults to none.
        predictions: defaults to none.
        chance: defaults to those in the report.
        titles: defaults to those in the report.

    Raises:
        ResultError: an unreadable ``report.json``.
        ConfigError: an unknown name of a paper's row.
    """
    wanted = None if paper is None else paper_rows(paper)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / REPORT_LOCK):
        old = read_report(folder)
        kept = old.rows if wanted is None else [row for row in old.rows if not row.is_paper]
        merged = {row.identity: row for row in [*(wanted or []), *kept, *rows]}
        report = Report(
            sorted(merged.values(), key=lambda row: not row.is_paper),
            {**old.upstream, **(upstream or {})},
            trainings or {},
            predictions or {},
            {**old.chance, **(chance or {})},
            titles or old.titles,
        )
        report.write(folder)
    return report


def read_report(folder: Path) -> Report:
    """Return the report in a folder's ``report.json``; an empty report if there is none.

    Raises:
        ResultError: the file is no report.
    """
    path = folder / REPORT_FILES[0]
    if not path.exists():
        return Report([])
    try:
        stored: _Stored = from_json(_Stored, json.loads(path.read_text(encoding='utf-8')))
    except ValueError as error:
        raise ResultError(f'{path} is not a report: {error}; move it away to start a new one') from error
    return Report(stored.rows, stored.upstream, chance=stored.chance, titles=stored.titles)
