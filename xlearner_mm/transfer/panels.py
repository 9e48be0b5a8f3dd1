"""Which panels the picture of a report has: the columns of the slides' tables, then the single sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlearner_mm.transfer.comparison import all_sets
from xlearner_mm.transfer.report_tables import metric_label
from xlearner_mm.transfer.scores import SUMMARY, SUMMARY_TASKS, Row

PANELS_A_LINE = 5
_TITLES = {'cls': 'Classification', 'det': 'Detection', 'seg': 'Segmentation', 'depth': 'Depth'}


@dataclass(frozen=True)
class Panel:
    """One column of the report's table.

    Args:
        column: key of a summary, or name of a set.
        title: what stands above it.
        subtitle: the metric.
    """

    column: str
    title: str
    subtitle: str


def panel_lines(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> list[list[Panel]]:
    """Return the panels line by line: one per task and extra set, then the sets that a task's mean is over.

    Args:
        rows: of the report, as :func:`~xlearner_mm.transfer.comparison.comparable` returns them.
        titles: of the report's columns: summary or set -> title. Defaults to the summaries under their metrics.
    """
    sets = all_sets(rows)
    summed = {task: _summed(sets, task) for task in SUMMARY_TASKS.values()}
    first = [
        _task_panel(column, task, titles[column], summed[task])
        for column, task in SUMMARY_TASKS.items()
        if summed[task] or any(row[column] is not None for row in rows)
    ]
    first += [_set_panel(name, score) for name, score in sets.items() if score.get('extra')]
    means = {name for names in summed.values() if len(names) > 1 for name in names}
    rest = [_set_panel(name, score) for name, score in sets.items() if name in means]
    lines = [first, *(rest[start : start + PANELS_A_LINE] for start in range(0, len(rest), PANELS_A_LINE))]
    return [line for line in lines if line]


def _summed(sets: Mapping[str, Mapping[str, Any]], task: str) -> list[str]:
    return [name for name, score in sets.items() if score['task'] == task and not score.get('extra')]


def _set_panel(name: str, score: Mapping[str, Any]) -> Panel:
    return Panel(name, name, f'{score["task"]}, {metric_label(score)}')


def _task_panel(column: str, task: str, title: str, names: Sequence[str]) -> Panel:
    over = names[0] if len(names) == 1 else f'{len(names)} sets' if names else ''
    return Panel(column, _TITLES[task], ', '.join(part for part in (title, over) if part))
