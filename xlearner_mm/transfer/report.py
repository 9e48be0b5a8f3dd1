"""The report of a comparison: ``report.json``, ``report.md``, ``report.csv`` and ``report.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from xlearner_mm.pipeline.display import duration
from xlearner_mm.pipeline.state import write_aside
from xlearner_mm.transfer.predictions import Predictions
from xlearner_mm.transfer.report_tables import (
    Upstream,
    notes,
    rows_as_csv,
    summary_table,
    transfer_table,
    upstream_table,
)
from xlearner_mm.transfer.results import TrainingResults
from xlearner_mm.transfer.scores import SUMMARY, Row
from xlearner_mm.transfer.tables import json_text, markdown, print_table

REPORT_FILES = ('report.json', 'report.md', 'report.csv', 'report.png')


@dataclass(frozen=True)
class Report:
    """What is reported.

    Args:
        rows: one per method, as :func:`~xlearner_mm.transfer.scores.make_row` makes them; the paper's among them, as
            :func:`~xlearner_mm.transfer.paper.paper_rows` returns them.
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
        from xlearner_mm.transfer.figure import save_figure  # matplotlib is slow to import

        data, text, values, picture = paths = [folder / name for name in REPORT_FILES]
        save_figure(picture, self.rows, self.trainings, self.predictions, self.chance, self.titles)
        write_aside(text, self.to_markdown())
        write_aside(values, rows_as_csv(self.rows, self.titles))
        write_aside(data, json_text(self.to_dict()))
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
