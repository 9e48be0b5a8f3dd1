"""A report that grows: every further checkpoint adds its row to the files of a work directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from xlearner_mm.transfer.paper import paper_rows
from xlearner_mm.transfer.predictions import Predictions
from xlearner_mm.transfer.report import REPORT_FILES, Report
from xlearner_mm.transfer.report_tables import Upstream
from xlearner_mm.transfer.results import ResultError, TrainingResults
from xlearner_mm.transfer.scores import SUMMARY, Row, identity, is_paper

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
        rows: what has been measured, as :func:`~xlearner_mm.transfer.scores.make_row` makes them; may be none.
        paper: names of the slides' rows that stand beside them, of
            :func:`~xlearner_mm.transfer.paper.paper_row_names`; none at all takes them out. Defaults to None: those
            that are there.
        upstream: as :class:`~xlearner_mm.transfer.report.Report` takes it. Defaults to what is there.
        trainings: likewise. Defaults to none.
        predictions: likewise. Defaults to none.
        chance: likewise. Defaults to what is there.
        titles: likewise. Defaults to what is there.

    Raises:
        ResultError: the folder's ``report.json`` is not one of ours.
        ValueError: an unknown name of a paper's row.
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
