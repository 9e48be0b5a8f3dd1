"""The report of a comparison: ``report.json``, ``report.md``, ``report.csv`` and ``report.png``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.pipeline.display import duration
from xlearner_mm.report.paper import paper_rows
from xlearner_mm.report.predictions import Predictions
from xlearner_mm.report.results import ResultError, TrainingResults
from xlearner_mm.report.rows import SUMMARY, Row, identity, is_paper
from xlearner_mm.report.tables import (
    Upstream,
    json_text,
    markdown,
    notes,
    print_table,
    rows_as_csv,
    summary_table,
    transfer_table,
    upstream_table,
)

REPORT_FILES = ('report.json', 'report.md', 'report.csv', 'report.png')


@dataclass(frozen=True)
class Report:
    """What is reported.

    Args:
        rows: one per method, as :func:`~xlearner_mm.report.rows.make_row` makes them; the paper's among them, as
            :func:`~xlearner_mm.report.paper.paper_rows` returns them.
        upstream: further trained networks for the table of the sources, such as the expanded one: title -> source ->
            ``{'metric', 'value'}``. The rows' own come by themselves. Defaults to none.
        trainings: title -> its results, for the loss curves. Defaults to none.
        predictions: title -> predictions on test images, for the pictures. Defaults to none.
        chance: transfer set -> what guessing gets there, in percent. Defaults to none.
        titles: of the columns: summary or set -> title, as :data:`~xlearner_mm.transfer.suite.COLUMNS` has them.
            Defaults to the summaries under their metrics.
    """

    rows: Sequence[Row]
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    trainings: Mapping[str, TrainingResults] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=lambda: SUMMARY)

    def write(self, folder: Path) -> list[Path]:
        """Write the four files, each whole or not at all, over those there are; return their paths."""
        from xlearner_mm.report.figure import save_figure  # matplotlib is slow to import

        data, text, values, picture = paths = [folder / name for name in REPORT_FILES]
        save_figure(picture, self.rows, self.trainings, self.predictions, self.chance, self.titles)
        atomic_write_text(text, self.to_markdown())
        atomic_write_text(values, rows_as_csv(self.rows, self.titles))
        atomic_write_text(data, json_text(self.to_dict()))
        return paths

    def to_dict(self) -> dict[str, Any]:
        """Return what ``report.json`` holds: all but curves and pictures."""
        titles = {} if self.titles == SUMMARY else dict(self.titles)
        optional = {'titles': titles, 'upstream': dict(self.upstream), 'chance': dict(self.chance)}
        return {'rows': list(self.rows), **{key: value for key, value in optional.items() if value}}

    def to_markdown(self) -> str:
        """Return the report as text."""
        summary = summary_table(self.rows, self.titles)
        parts = ['# Transfer of the backbones', ' '.join(notes(self.rows)), markdown(summary)]
        transfer, upstream = transfer_table(self.rows), self._upstream()
        if transfer.lines:
            parts += ['## Every transfer set', markdown(transfer)]
        if upstream:
            parts += ['## The sources', markdown(upstream_table(upstream))]
        total = sum(row.get('seconds') or 0 for row in self.rows)
        parts += [f'The trainings took {duration(total)}, some of it at the same time.'] if total else []
        return '\n\n'.join([*parts, '![The report as a picture](report.png)']) + '\n'

    def show(self, console: Console | None = None) -> None:
        """Print the tables.

        Args:
            console: where to. Defaults to None: standard output.
        """
        transfer, upstream = transfer_table(self.rows), self._upstream()
        if upstream:
            print_table(upstream_table(upstream), 'Sources: validation in percent', console)
        if transfer.lines:
            print_table(transfer, 'Transfer sets: test in percent', console)
        print_table(summary_table(self.rows, self.titles), 'Summary', console)
        (console or Console()).print(*notes(self.rows), style='dim')

    def _upstream(self) -> dict[str, Upstream]:
        own = {row['method']: row['upstream'] for row in self.rows if row['upstream']}
        return {**self.upstream, **own}


REPORT_LOCK = '.report.lock'
"""In a work directory: held by whoever changes the report, or whose its rows are."""


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
    """Add rows to a folder's report, write its files anew, and return it.

    A row replaces the one of its method and protocol. What the folder's report holds besides stays, but for loss
    curves and pictures, which are drawn when they are given. Several processes may do this at once: they wait for each
    other.

    Args:
        folder: the work directory; made where it is missing.
        rows: what has been measured, as :func:`~xlearner_mm.report.rows.make_row` makes them; may be none.
        paper: names of the slides' rows that stand beside them, of
            :func:`~xlearner_mm.report.paper.paper_row_names`; none at all takes them out. Defaults to None: those
            that are there.
        upstream: as :class:`~xlearner_mm.report.report.Report` takes it. Defaults to what is there.
        trainings: likewise. Defaults to none.
        predictions: likewise. Defaults to none.
        chance: likewise. Defaults to what is there.
        titles: likewise. Defaults to what is there.

    Raises:
        ResultError: the folder's ``report.json`` is not one of ours.
        ConfigError: an unknown name of a paper's row.
    """
    wanted = None if paper is None else paper_rows(paper)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / REPORT_LOCK):
        old = read_report(folder)
        report = Report(
            merge_rows(old.rows if wanted is None else [row for row in old.rows if not is_paper(row)], rows, wanted),
            {**old.upstream, **(upstream or {})},
            trainings or {},
            predictions or {},
            {**old.chance, **(chance or {})},
            titles or old.titles,
        )
        report.write(folder)
    return report


def read_report(folder: Path) -> Report:
    """Return what a folder's ``report.json`` holds; an empty report where there is none.

    Raises:
        ResultError: it is not one of ours.
    """
    path = folder / REPORT_FILES[0]
    if not path.exists():
        return Report([])
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        rows = content['rows']
        for row in rows:
            identity(row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(f'{path} is no report of ours ({error!r}): move it away to begin a new one') from error
    return Report(
        rows,
        content.get('upstream', {}),
        chance=content.get('chance', {}),
        titles=content.get('titles', SUMMARY),
    )


def merge_rows(old: Sequence[Row], new: Sequence[Row], paper: Sequence[Row] | None = None) -> list[Row]:
    """Return the old rows with the new ones in their places or behind them; the paper's come first."""
    merged = {identity(row): row for row in [*(paper or []), *old, *new]}
    return sorted(merged.values(), key=lambda row: not is_paper(row))
