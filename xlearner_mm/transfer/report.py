"""The report of a comparison: ``report.json``, ``report.md`` and ``report.png``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from xlearner_mm.pipeline.display import duration
from xlearner_mm.pipeline.state import write_aside
from xlearner_mm.transfer.predictions import Predictions
from xlearner_mm.transfer.results import TrainingResults
from xlearner_mm.transfer.rows import Row
from xlearner_mm.transfer.tables import markdown, print_table, summary_cells, transfer_cells, upstream_cells

Upstream = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Report:
    """What is reported.

    Args:
        rows: one per method, as :func:`~xlearner_mm.transfer.rows.build_row` makes them.
        upstream: trained network -> source -> ``{'metric', 'value'}``, for the table of the sources. Defaults to none.
        trainings: title -> its results, for the loss curves. Defaults to none.
        predictions: title -> predictions on test images, for the pictures. Defaults to none.
        chance: transfer set -> what guessing gets there, in percent. Defaults to none.
    """

    rows: Sequence[Row]
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    trainings: Mapping[str, TrainingResults] = field(default_factory=dict)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> list[Path]:
        """Write the three files, each whole or not at all; return their paths."""
        from xlearner_mm.transfer.figure import save_figure  # matplotlib is slow to import

        data, text, picture = (folder / f'report.{suffix}' for suffix in ('json', 'md', 'png'))
        save_figure(picture, self.rows, self.trainings, self.predictions, self.chance)
        write_aside(text, self.to_markdown())
        write_aside(data, json.dumps({'rows': list(self.rows)}, indent=2) + '\n')
        return [data, text, picture]

    def to_markdown(self) -> str:
        """Return the report as text."""
        parts = [
            '# Transfer of the backbones',
            'All values are percentages measured in this run; higher is better.',
            markdown(summary_cells(self.rows)),
            '## Every transfer set',
            markdown(transfer_cells(self.rows)),
        ]
        if self.upstream:
            parts += ['## The sources', markdown(upstream_cells(self.upstream))]
        total = duration(sum(row['seconds'] for row in self.rows))
        parts += [f'The trainings took {total}, some of it at the same time.', '![The report as a picture](report.png)']
        return '\n\n'.join(parts) + '\n'

    def show(self, console: Console | None = None) -> None:
        """Print the tables.

        Args:
            console: where to. Defaults to None: standard output.
        """
        if self.upstream:
            print_table(upstream_cells(self.upstream), 'Sources: validation in percent', console)
        print_table(transfer_cells(self.rows), 'Transfer sets: test in percent', console)
        print_table(summary_cells(self.rows), 'Summary', console)
