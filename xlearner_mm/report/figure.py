"""The report as one picture: scores as dots, losses as curves, predictions on test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from xlearner_mm.atomic import atomic_write
from xlearner_mm.report.columns import score_text
from xlearner_mm.report.results import Curve, TrainingResults
from xlearner_mm.report.rows import (
    SUMMARY,
    Row,
    Score,
    all_sets,
    best_rows,
    comparable,
    protocols_differ,
    shared_label,
)
from xlearner_mm.tasks import TASKS

# Classes, methods and curves have the colors of matplotlib's cycle: 'C0', 'C1', ...
_COLORS = [f'C{index}' for index in range(10)]
_PAPER_COLOR, _LINE_COLOR, _TEXT_COLOR = '#8c8c8c', '#c8c8c8', '#555555'
_TICKS = MaxNLocator(4, steps=[1, 2, 5, 10])
_LEAST_WIDTH = 2.0  # percent: noise must not fill a panel
_ROW_INCHES, _AROUND_INCHES, _TITLE_INCHES, _CURVE_INCHES, _PICTURE_INCHES = 0.25, 0.75, 0.55, 3.4, 2.4
_PANELS_PER_LINE = 5


@dataclass(frozen=True)
class Boxes:
    """Boxes ``(N, 4)``, as x1, y1, x2, y2 in pixels, and labels ``(N,)`` of the objects in one image."""

    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """One test image, ``(H, W, 3)`` RGB, with ground truth and prediction: objects, or a label map ``(H, W)``."""

    image: np.ndarray
    truth: Boxes | np.ndarray
    predicted: Boxes | np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model, one per image, and the names of its classes in label order."""

    classes: tuple[str, ...]
    items: list[Prediction]


def save_figure(
    path: Path,
    rows: Sequence[Row],
    trainings: Mapping[str, TrainingResults],
    predictions: Mapping[str, Predictions],
    chance: Mapping[str, float],
    titles: Mapping[str, str],
) -> None:
    """Draw rows as dots, losses of trainings, and predictions on test images.

    Args:
        path: the PNG, written atomically.
        rows: one per method.
        trainings: title -> results with the losses to draw; may be empty.
        predictions: title -> predictions on test images; may be empty.
        chance: transfer set -> score of guessing, in percent.
        titles: summary or set -> title of the report's column.
    """
    heights = [height_of(rows)]
    heights += [_CURVE_INCHES] if trainings else []
    heights += [_PICTURE_INCHES] * len(predictions)
    figure = Figure(figsize=(13, sum(heights)), layout='constrained')
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    draw_rows(next(parts), rows, chance, titles)
    if trainings:
        axes = next(parts).subplots(1, len(trainings), squeeze=False)[0]
        for panel, (title, results) in zip(axes, trainings.items(), strict=True):
            draw_losses(panel, title, results)
    for title, predicted in predictions.items():
        draw_predictions(next(parts), title, predicted)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120, format='png')


@dataclass(frozen=True)
class Panel:
    """One column of the report's table: a summary or a set, its title, and its metric."""

    column: str
    title: str
    subtitle: str


def panel_lines(rows: Sequence[Row], titles: Mapping[str, str] = SUMMARY) -> list[list[Panel]]:
    """Return the panels line by line: one per task and extra set, then the sets of every mean."""
    sets = all_sets(rows)
    names = {key: [name for name, score in sets.items() if score.task == key and not score.extra] for key in TASKS}
    first = []
    for key, task in TASKS.items():
        if names[key] or any(row.value(task.column) is not None for row in rows):
            over = f'{len(names[key])} sets' if len(names[key]) > 1 else ''.join(names[key])
            subtitle = ', '.join(part for part in (titles.get(task.column, task.column_title), over) if part)
            first.append(Panel(task.column, task.name, subtitle))
    first += [_set_panel(name, score) for name, score in sets.items() if score.extra]
    rest = [_set_panel(name, sets[name]) for group in names.values() if len(group) > 1 for name in group]
    lines = [first, *(rest[start : start + _PANELS_PER_LINE] for start in range(0, len(rest), _PANELS_PER_LINE))]
    return [line for line in lines if line]


def _set_panel(name: str, score: Score) -> Panel:
    return Panel(name, name, f'{score.task}, {score.label}')


def height_of(rows: Sequence[Row]) -> float:
    """Return the height that :func:`draw_rows` needs, in inches."""
    rows = comparable(rows)
    return _TITLE_INCHES + sum(_line_inches(rows, line) for line in panel_lines(rows))


def draw_rows(
    figure: SubFigure, rows: Sequence[Row], chance: Mapping[str, float], titles: Mapping[str, str] = SUMMARY
) -> None:
    """Draw all rows as dots, with the arguments of :func:`save_figure`: one panel per column, one line per method.

    Dots, not bars: the differences of interest are a few percent of values that are far from zero.
    """
    rows = comparable(rows)
    lines = panel_lines(rows, titles)
    colors = row_colors(rows)
    heights = [_TITLE_INCHES, *(_line_inches(rows, line) for line in lines)]
    head, *parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_head(head, rows, bool(chance))
    for number, (part, line) in enumerate(zip(parts, lines, strict=True)):
        shown = _rows_in(rows, line)
        axes = part.subplots(1, len(line) if number == 0 else _PANELS_PER_LINE, sharey=True, squeeze=False)[0]
        for unused in axes[len(line) :]:
            unused.set_axis_off()
        for panel_axes, panel in zip(axes, line, strict=False):
            draw_panel(panel_axes, panel, shown, colors, chance.get(panel.column))
        _name_rows(axes[0], shown)


def draw_panel(axes: Axes, panel: Panel, rows: Sequence[Row], colors: Mapping[str, str], chance: float | None) -> None:
    """Draw one column of the table, one row per line, with the colors of :func:`row_colors`."""
    best = best_rows(rows, panel.column)
    room = 0.36 if any(row.deviation(panel.column) is not None for row in rows) else 0.2
    left, end = _ends(rows, panel.column, chance)
    axes.set_xlim(left, left + (end - left) / (1 - room))
    axes.set_xticks([tick for tick in _TICKS.tick_values(left, end) if left <= tick <= min(end, 100)])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    published = sum(row.is_paper for row in rows)
    if 0 < published < len(rows):
        axes.axhline(published - 0.5, color=_LINE_COLOR, linewidth=0.8)
    for place, row in enumerate(rows):
        value, weight = row.value(panel.column), 'bold' if place in best else 'normal'
        style: dict[str, Any] = {
            'ha': 'right',
            'va': 'center',
            'fontsize': 8.5,
            'weight': weight,
            'color': _text_color(row),
        }
        text = score_text(row, panel.column)
        axes.text(0.995, place, text, transform=axes.get_yaxis_transform(), **style)
        if value is not None:
            axes.hlines(place, left, value, color=_LINE_COLOR, linewidth=1.2, zorder=1)
            color = _PAPER_COLOR if row.is_paper else colors[row.method]
            style = {'color': color, 'elinewidth': 1.4, 'capsize': 2.5, 'zorder': 3, **_marker(row)}
            axes.errorbar(value, place, xerr=row.deviation(panel.column), **style)
    if chance is not None:
        axes.axvline(chance, color='black', linestyle=':', linewidth=1.1, zorder=2)
    axes.set_title(panel.title, loc='left', weight='bold', fontsize=10, pad=16)
    axes.annotate(
        panel.subtitle, (0, 1), (0, 4), 'axes fraction', 'offset points', fontsize=8.5, color=_TEXT_COLOR, va='bottom'
    )
    axes.tick_params(axis='x', labelsize=8, colors=_TEXT_COLOR, length=2)
    axes.tick_params(axis='y', length=0)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(_LINE_COLOR)


def row_colors(rows: Sequence[Row]) -> dict[str, str]:
    """Return a color for each measured method."""
    return dict(zip(dict.fromkeys(row.method for row in rows if not row.is_paper), cycle(_COLORS), strict=False))


def _text_color(row: Row) -> str:
    return _PAPER_COLOR if row.is_paper else 'black'


def _rows_in(rows: Sequence[Row], line: Sequence[Panel]) -> list[Row]:
    """Return the rows of a line of panels: all measured ones, and the paper's with a value in it."""
    return [row for row in rows if not row.is_paper or any(row.value(panel.column) is not None for panel in line)]


def _line_inches(rows: Sequence[Row], line: Sequence[Panel]) -> float:
    one = _ROW_INCHES * (1.35 if protocols_differ(rows) else 1.0)
    return _AROUND_INCHES + one * len(_rows_in(rows, line))


def _ends(rows: Sequence[Row], column: str, chance: float | None) -> tuple[float, float]:
    """Return the range of a panel's dots; the axis continues beyond it, below the numbers."""
    known = [(value, row.deviation(column) or 0.0) for row in rows if (value := row.value(column)) is not None]
    ends = [value + side * deviation for value, deviation in known for side in (-1, 1)]
    ends += [] if chance is None else [chance]
    if len(known) < 2:  # nothing to compare: the whole scale
        return 0.0, 100.0
    middle, half = (min(ends) + max(ends)) / 2, max(max(ends) - min(ends), _LEAST_WIDTH) / 2
    least, most, width = middle - half, middle + half, 2 * half
    return max(least - 0.12 * width, min(least, 0.0)), most + 0.08 * width


def _draw_head(figure: SubFigure, rows: Sequence[Row], chance: bool) -> None:
    measured = [row for row in rows if not row.is_paper]
    known = measured and measured[0].protocol.label != 'not recorded' and not protocols_differ(rows)
    title = 'Transfer of the backbones: test in %' + (f' ({shared_label(measured)})' if known else '')
    figure.text(0.01, 0.7, title, weight='bold', fontsize=12, va='center')
    words = 'Every panel has its own scale, which need not begin at 0.'
    words += '' if len(measured) < 2 else f' Bold: the best{" of its protocol" if protocols_differ(rows) else ""}.'
    figure.text(0.01, 0.25, words, fontsize=8.5, color=_TEXT_COLOR, va='center')
    handles = [Line2D([], [], color='black', linestyle=':', label='chance')] if chance else []
    if len(measured) < len(rows):
        label = "the paper's slides, on its own sets: not measured here"
        handles.append(Line2D([], [], label=label, color=_PAPER_COLOR, linestyle='', **_marker(rows[0])))
    if handles:
        figure.legend(handles=handles, ncols=2, frameon=False, fontsize=9, loc='center right')


def _name_rows(axes: Axes, rows: Sequence[Row]) -> None:
    differ = protocols_differ(rows)
    names = [f'{row.method}\n{row.protocol_label}' if differ and not row.is_paper else row.method for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5 if differ else 9)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(_text_color(row))


def _marker(row: Row) -> dict[str, Any]:
    """Return the marker of a row: hollow for the paper's."""
    return {'marker': 'D', 'markersize': 5, 'markerfacecolor': 'white'} if row.is_paper else {'marker': 'o'}


def draw_losses(axes: Axes, title: str, results: TrainingResults) -> None:
    """Draw a training's losses, one curve per source or branch: those with the largest last values."""
    curves = grouped(results.losses())
    for name in sorted(curves, key=lambda name: -curves[name][-1][1])[: len(_COLORS)]:
        axes.plot(*zip(*curves[name], strict=True), label=name, linewidth=1.6)
    axes.set_title(title, loc='left', weight='bold', fontsize=10)
    axes.set_xlabel('step')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc='upper center', bbox_to_anchor=(0.5, -0.17))
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#e6e6e6', linewidth=0.8)
    axes.set_axisbelow(True)


def grouped(losses: Mapping[str, Curve]) -> dict[str, Curve]:
    """Return the sum of the losses of every source or branch, without the total.

    Args:
        losses: as logged: ``<source>.<loss>`` in the expansion stage, ``loss_<branch>_<level>`` in the squeeze stage.
    """
    sums: dict[str, dict[int, float]] = {}
    for key, curve in losses.items():
        if key == 'loss':
            continue
        group = key.partition('.')[0] if '.' in key else key.removeprefix('loss_').rpartition('_')[0] or key
        total = sums.setdefault(group, {})
        for step, value in curve:
            total[step] = total.get(step, 0.0) + value
    return {group: sorted(total.items()) for group, total in sums.items()}


def draw_predictions(figure: SubFigure, title: str, predictions: Predictions) -> None:
    """Draw ground truth and prediction side by side for every image of a detector or a segmentor."""
    figure.suptitle(title, x=0.01, ha='left', weight='bold', fontsize=11)
    pairs = figure.subfigures(1, len(predictions.items), wspace=0.03, squeeze=False)[0]
    for part, item in zip(pairs, predictions.items, strict=True):
        shown = {'truth': item.truth, 'predicted': item.predicted}
        for axes, (label, labels) in zip(part.subplots(1, 2), shown.items(), strict=True):
            axes.imshow(item.image, interpolation='bilinear')
            axes.set_title(label, fontsize=9, color=_TEXT_COLOR, pad=3)
            axes.set_axis_off()
            if isinstance(labels, Boxes):
                draw_boxes(axes, labels)
            else:
                draw_labels(axes, labels, len(predictions.classes))
    names = predictions.classes if isinstance(predictions.items[0].truth, Boxes) else predictions.classes[1:]
    handles = [Patch(fc=color, ec='black', label=name) for name, color in zip(names, cycle(_COLORS), strict=False)]
    figure.legend(handles=handles, ncols=9, loc='outside lower left', frameon=False, fontsize=9)


def draw_boxes(axes: Axes, objects: Boxes) -> None:
    """Draw boxes in the colors of their classes."""
    for (left, top, right, bottom), label in zip(objects.boxes, objects.labels, strict=True):
        for color, width in (('black', 3.4), (_COLORS[int(label) % len(_COLORS)], 2)):
            box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=width)
            axes.add_patch(box)


def draw_labels(axes: Axes, labels: np.ndarray, classes: int) -> None:
    """Draw a label map ``(H, W)`` over its image; label 0 is the background, labels beyond the classes are ignored."""
    colors = ListedColormap(['#00000000', *islice(cycle(_COLORS), classes - 1)])
    shown = np.where(labels < classes, labels, 0)
    axes.imshow(shown, cmap=colors, vmin=0, vmax=max(classes - 1, 1), alpha=0.65, interpolation='nearest')
