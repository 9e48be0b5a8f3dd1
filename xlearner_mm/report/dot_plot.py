"""Draws the rows of a report as dots: one panel per column of the table, one line per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xlearner_mm.report.rows import (
    SUMMARY,
    SUMMARY_TASKS,
    Row,
    all_sets,
    best_rows,
    comparable,
    deviation_of,
    identity,
    is_paper,
    protocol_label,
    protocols_differ,
    shared_label,
    value_of,
)
from xlearner_mm.report.tables import metric_label

# Colours that stay apart in print and for colour-blind readers; the demo's methods have theirs.
_METHOD_COLOURS = {'scratch': '#7f7f7f', 'hard_sharing': '#3a6ea5', 'xlearner': '#d1603d'}
_COLOURS = ('#5a9367', '#8d6cab', '#c99a2e', '#4aa3a2', '#a14a6b', '#41507a', '#8a6a4f', '#d1603d', '#3a6ea5')
_PAPER_COLOUR, _GUIDE_COLOUR, _WORDS_COLOUR = '#8c8c8c', '#e4e4e4', '#555555'
_TICKS = MaxNLocator(4, steps=[1, 2, 5, 10])
_LEAST_WIDTH = 2.0  # percent: a difference within the noise is not drawn as if it were one
_ROW_INCHES, _AROUND_INCHES, _TITLE_INCHES = 0.25, 0.75, 0.55


def height_of(rows: Sequence[Row]) -> float:
    """Return how many inches :func:`draw_rows` wants."""
    rows = comparable(rows)
    return _TITLE_INCHES + sum(_line_inches(rows, line) for line in panel_lines(rows))


def draw_rows(
    figure: SubFigure, rows: Sequence[Row], chance: Mapping[str, float], titles: Mapping[str, str] = SUMMARY
) -> None:
    """Draw all rows.

    Dots, not bars: the differences of interest are a few percent of values that are far from zero.

    Args:
        figure: where to.
        rows: the methods.
        chance: transfer set -> what guessing gets there, marked by a line.
        titles: of the report's columns: summary or set -> title. Defaults to the summaries under their metrics.
    """
    rows = comparable(rows)
    lines = panel_lines(rows, titles)
    colours = row_colours(rows)
    heights = [_TITLE_INCHES, *(_line_inches(rows, line) for line in lines)]
    head, *parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_head(head, rows, bool(chance))
    for number, (part, line) in enumerate(zip(parts, lines, strict=True)):
        shown = _rows_in(rows, line)
        columns = len(line) if number == 0 else PANELS_A_LINE
        axes = part.subplots(1, columns, sharey=True, squeeze=False)[0]
        for unused in axes[len(line) :]:
            unused.set_axis_off()
        for panel_axes, panel in zip(axes, line, strict=False):
            draw_panel(panel_axes, panel, shown, [colours[identity(row)] for row in shown], chance.get(panel.column))
        _name_rows(axes[0], shown)


def draw_panel(axes: Axes, panel: Panel, rows: Sequence[Row], colours: Sequence[str], chance: float | None) -> None:
    """Draw one column of the table.

    Args:
        axes: where to.
        panel: the column.
        rows: one a line, the first on top.
        colours: one per row.
        chance: what guessing gets; None marks nothing.
    """
    best = best_rows(rows, panel.column)
    room = 0.36 if any(deviation_of(row, panel.column) is not None for row in rows) else 0.2
    left, end = _ends(rows, panel.column, chance)
    axes.set_xlim(left, left + (end - left) / (1 - room))
    axes.set_xticks([tick for tick in _TICKS.tick_values(left, end) if left <= tick <= min(end, 100)])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    published = sum(map(is_paper, rows))
    if 0 < published < len(rows):
        axes.axhline(published - 0.5, color='#bbbbbb', linewidth=0.8)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        value, deviation = value_of(row, panel.column), deviation_of(row, panel.column)
        number = '-' if value is None else f'{value:.1f}{row.get("marks", {}).get(panel.column, "")}'
        number += '' if deviation is None else f' ± {deviation:.1f}'
        axes.text(
            0.995, place, number, transform=axes.get_yaxis_transform(), ha='right', va='center', fontsize=8.5,
            weight='bold' if place in best else 'normal', color=_PAPER_COLOUR if is_paper(row) else 'black',
        )  # fmt: skip
        if value is None:
            continue
        axes.hlines(place, left, value, color=_GUIDE_COLOUR, linewidth=1.2, zorder=1)
        axes.errorbar(value, place, xerr=deviation, color=colour, elinewidth=1.4, capsize=2.5, zorder=3, **_marker(row))
    if chance is not None:
        axes.axvline(chance, color='black', linestyle=':', linewidth=1.1, zorder=2)
    axes.set_title(panel.title, loc='left', weight='bold', fontsize=10, pad=16)
    axes.annotate(
        panel.subtitle,
        (0, 1),
        (0, 4),
        'axes fraction',
        'offset points',
        fontsize=8.5,
        color=_WORDS_COLOUR,
        va='bottom',
    )
    axes.tick_params(axis='x', labelsize=8, colors=_WORDS_COLOUR, length=2)
    axes.tick_params(axis='y', length=0)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color('#bbbbbb')


def row_colours(rows: Sequence[Row]) -> dict[tuple[str | None, str, str], str]:
    """Return a colour per row, by its identity: grey for the paper's, one for each method's."""
    measured = list(dict.fromkeys(row['method'] for row in rows if not is_paper(row)))
    others = [name for name in measured if name not in _METHOD_COLOURS]
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(others)} | _METHOD_COLOURS
    return {identity(row): _PAPER_COLOUR if is_paper(row) else colours[row['method']] for row in rows}


def _rows_in(rows: Sequence[Row], line: Sequence[Panel]) -> list[Row]:
    """Return the rows of a line of panels: all measured ones, and those of the paper's that have a value there."""
    return [row for row in rows if not is_paper(row) or any(value_of(row, panel.column) is not None for panel in line)]


def _line_inches(rows: Sequence[Row], line: Sequence[Panel]) -> float:
    one = _ROW_INCHES * (1.35 if protocols_differ(rows) else 1.0)
    return _AROUND_INCHES + one * len(_rows_in(rows, line))


def _ends(rows: Sequence[Row], column: str, chance: float | None) -> tuple[float, float]:
    """Return the ends of what a panel's dots need of its axis; the numbers stand behind it."""
    known = [(value, deviation_of(row, column) or 0.0) for row in rows if (value := value_of(row, column)) is not None]
    ends = [value + side * deviation for value, deviation in known for side in (-1, 1)]
    ends += [] if chance is None else [chance]
    if len(known) < 2:  # nothing to compare: the whole scale
        return 0.0, 100.0
    middle, half = (min(ends) + max(ends)) / 2, max(max(ends) - min(ends), _LEAST_WIDTH) / 2
    least, most, width = middle - half, middle + half, 2 * half
    return max(least - 0.12 * width, min(least, 0.0)), most + 0.08 * width


def _draw_head(figure: SubFigure, rows: Sequence[Row], chance: bool) -> None:
    measured = [row for row in rows if not is_paper(row)]
    known = measured and measured[0].get('protocol') and not protocols_differ(rows)
    title = 'Transfer of the backbones: test in %' + (f' ({shared_label(measured)})' if known else '')
    figure.text(0.01, 0.7, title, weight='bold', fontsize=12, va='center')
    words = 'Every panel has its own scale, which need not begin at 0.'
    words += '' if len(measured) < 2 else f' Bold: the best{" of its protocol" if protocols_differ(rows) else ""}.'
    figure.text(0.01, 0.25, words, fontsize=8.5, color=_WORDS_COLOUR, va='center')
    handles = [Line2D([], [], color='black', linestyle=':', label='chance')] if chance else []
    if len(measured) < len(rows):
        label = "the paper's slides, on its own sets: not measured here"
        handles.append(Line2D([], [], label=label, color=_PAPER_COLOUR, linestyle='', **_marker(rows[0])))
    if handles:
        figure.legend(handles=handles, ncols=2, frameon=False, fontsize=9, loc='center right')


def _name_rows(axes: Axes, rows: Sequence[Row]) -> None:
    differ = protocols_differ(rows)
    names = [
        f'{row["method"]}\n{protocol_label(row)}' if differ and not is_paper(row) else row['method'] for row in rows
    ]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5 if differ else 9)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(_PAPER_COLOUR if is_paper(row) else 'black')


def _marker(row: Row) -> dict[str, Any]:
    """Return the mark of a row: hollow for the paper's."""
    return {'marker': 'D', 'markersize': 5, 'markerfacecolor': 'white'} if is_paper(row) else {'marker': 'o'}


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
        rows: of the report, as :func:`~xlearner_mm.report.rows.comparable` returns them.
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
