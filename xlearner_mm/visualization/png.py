"""Matplotlib figures as PNG files, without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xlearner_mm.atomic import atomic_write


def blank_figure(width: float, height: float, layout: Literal['constrained'] | None = 'constrained') -> Figure:
    """Return an empty figure.

    Args:
        width: in inches.
        height: in inches.
        layout: of matplotlib. Defaults to ``'constrained'``.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, out: Path, dpi: int = 140) -> None:
    """Write a figure atomically.

    Args:
        figure: the figure.
        out: the PNG; its folder is created.
        dpi: pixels per inch. Defaults to 140.
    """
    with atomic_write(out) as partial:
        figure.savefig(partial, dpi=dpi, format='png')
