"""Draws predictions with the ground truth beside them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch, Rectangle

from xlearner_mm.transfer.predictions import Boxes, Predictions

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
