"""The report as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle

from xlearner_mm.atomic import atomic_write
from xlearner_mm.report.dot_plot import draw_rows, height_of
from xlearner_mm.report.predictions import Boxes, Predictions
from xlearner_mm.report.results import Curve, TrainingResults
from xlearner_mm.report.rows import Row

# Colours that stay apart in print and for colour-blind readers.
_LINES = ('#d1603d', '#3a6ea5', '#5a9367', '#8d6cab', '#c99a2e', '#4aa3a2', '#a14a6b', '#7a7a7a')
_CURVE_INCHES, _PICTURE_INCHES = 3.4, 2.4


def save_figure(
    path: Path,
    rows: Sequence[Row],
    trainings: Mapping[str, TrainingResults],
    predictions: Mapping[str, Predictions],
    chance: Mapping[str, float],
    titles: Mapping[str, str],
) -> None:
    """Draw the rows as dots, the trainings' losses, and predictions on test images.

    Args:
        path: the PNG; whole or not there.
        rows: one per method.
        trainings: title -> results whose losses are drawn; none leaves the curves out.
        predictions: title -> predictions on test images; none leaves the pictures out.
        chance: transfer set -> what guessing gets there, in percent.
        titles: of the report's columns: summary or set -> title.
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
    for title, seen in predictions.items():
        draw_predictions(next(parts), title, seen)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120, format='png')


def draw_losses(axes: Axes, title: str, results: TrainingResults, most: int = len(_LINES)) -> None:
    """Draw a training's losses, one curve per source or branch.

    Args:
        axes: where to.
        title: of the panel.
        results: of the training.
        most: how many curves at most, the largest at the end first. Defaults to as many as there are colours.
    """
    curves = grouped(results.losses())
    names = sorted(curves, key=lambda name: -curves[name][-1][1])[:most]
    for name, colour in zip(names, _LINES, strict=False):
        steps, values = zip(*curves[name], strict=True)
        axes.plot(steps, values, label=name, color=colour, linewidth=1.6)
    axes.set_title(title, loc='left', weight='bold', fontsize=10)
    axes.set_xlabel('step')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc='upper center', bbox_to_anchor=(0.5, -0.17))
    _clean(axes)


def grouped(losses: Mapping[str, Curve]) -> dict[str, Curve]:
    """Sum the losses that belong together.

    Args:
        losses: as logged: ``<source>.<loss>`` in the expansion stage, ``loss_<branch>_<level>`` in the squeeze stage.

    Returns:
        One curve per source or branch; the total is left out.
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


def _clean(axes: Axes) -> None:
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#e6e6e6', linewidth=0.8)
    axes.set_axisbelow(True)


CLASS_COLOURS = ('#e6194b', '#3cb44b', '#ffe119', '#4363d8', '#f58231', '#46f0f0', '#f032e6', '#bcf60c', '#fabebe')
_BACKGROUND = '#00000000'


def draw_predictions(figure: SubFigure, title: str, predictions: Predictions) -> None:
    """Draw every image twice, side by side: what is there, and what was predicted.

    Args:
        figure: where to.
        title: what stands above.
        predictions: of a detector or a segmentor.
    """
    figure.suptitle(title, x=0.01, ha='left', weight='bold', fontsize=11)
    pairs = figure.subfigures(1, len(predictions.items), wspace=0.03, squeeze=False)[0]
    for part, item in zip(pairs, predictions.items, strict=True):
        for axes, label, what in zip(
            part.subplots(1, 2), ('truth', 'predicted'), (item.truth, item.predicted), strict=True
        ):
            axes.imshow(item.image, interpolation='bilinear')
            axes.set_title(label, fontsize=9, color='#555555', pad=3)
            axes.set_axis_off()
            if isinstance(what, Boxes):
                draw_boxes(axes, what)
            else:
                draw_labels(axes, what, len(predictions.classes))
    figure.legend(handles=_legend(predictions), ncols=9, loc='outside lower left', frameon=False, fontsize=9)


def draw_boxes(axes: Axes, what: Boxes) -> None:
    """Draw boxes in the colours of their classes."""
    for (left, top, right, bottom), label in zip(what.boxes, what.labels, strict=True):
        colour = _colour(int(label))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor='black', linewidth=3.4))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2))


def draw_labels(axes: Axes, labels: np.ndarray, classes: int) -> None:
    """Draw a label map ``(H, W)`` over its image; label 0 is the background, 255 is ignored."""
    colours = ListedColormap([_BACKGROUND, *(_colour(index) for index in range(classes - 1))])
    shown = np.where(labels < classes, labels, 0)
    axes.imshow(shown, cmap=colours, vmin=0, vmax=max(classes - 1, 1), alpha=0.65, interpolation='nearest')


def _legend(predictions: Predictions) -> list[Patch]:
    first = predictions.items[0].truth
    names = predictions.classes if isinstance(first, Boxes) else predictions.classes[1:]
    return [Patch(facecolor=_colour(index), edgecolor='black', label=name) for index, name in enumerate(names)]


def _colour(index: int) -> str:
    return CLASS_COLOURS[index % len(CLASS_COLOURS)]
