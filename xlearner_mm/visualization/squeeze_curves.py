"""Curves of a squeeze: loss and similarity per branch and level, fidelity per source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from xlearner_mm.engine.hooks.feature_similarity_hook import PREFIX
from xlearner_mm.report.results import Curve, ResultError, read_results
from xlearner_mm.visualization.png import blank_figure, save_png

_LOSS, _FIDELITY = 'loss_', '/fidelity'
_ALL_SOURCES = 'sources'
_PANEL = (2.7, 2.0)  # inches
_LINES = ('#3a6ea5', '#d1603d', '#5a9367', '#8d6cab', '#c99a2e', '#4aa3a2', '#a14a6b', '#7a7a7a')

Levels = dict[int, Curve]


@dataclass(frozen=True)
class SqueezeCurves:
    """Logged curves of a squeeze.

    Args:
        losses: branch t -> level i -> the FitNet loss.
        similarities: branch t -> level i -> CKA of student and branch; empty without FeatureSimilarityHook.
        fidelity: source -> its upstream metric in percent of the branch's own; empty without FidelityHook.
    """

    losses: dict[str, Levels]
    similarities: dict[str, Levels] = field(default_factory=dict)
    fidelity: dict[str, Curve] = field(default_factory=dict)


def read_squeeze(folder: Path) -> SqueezeCurves:
    """Read the curves of a squeeze's work directory.

    Args:
        folder: the work directory.

    Raises:
        ResultError: nothing was logged there, or by another training than a squeeze.
    """
    results = read_results(folder)
    losses = _by_branch(results.curves, _LOSS)
    if not losses:
        raise ResultError(f'{folder} holds no loss_<branch>_<level>: it is no work directory of a squeeze')
    fidelity = {
        key.removesuffix(_FIDELITY): curve
        for key, curve in results.validation_curves().items()
        if key.endswith(_FIDELITY)
    }
    return SqueezeCurves(losses, _by_branch(results.curves, PREFIX), fidelity)


def _by_branch(curves: Mapping[str, Curve], prefix: str) -> dict[str, Levels]:
    found: dict[str, Levels] = {}
    for key, curve in curves.items():
        branch, _, level = key.removeprefix(prefix).rpartition('_')
        if key.startswith(prefix) and branch and level.isdecimal():
            found.setdefault(branch, {})[int(level)] = curve
    return found


def save_squeeze_curves(curves: SqueezeCurves, out: Path) -> None:
    """Draw one column per branch, with its losses above and its similarities below, and the fidelity of all sources.

    Args:
        curves: of a squeeze.
        out: the PNG, written atomically.
    """
    grids = {
        r'Loss $\|F - G(\hat{F})\|^2$ of every branch and level': curves.losses,
        r'Similarity of $\hat{F}$ and $F$: linear CKA': curves.similarities,
    }
    grids = {title: grid for title, grid in grids.items() if grid}
    rows = len(grids) + bool(curves.fidelity)
    width, height = _PANEL
    figure = blank_figure(0.6 + width * max(len(curves.losses), 2), rows * (height + 0.5) + 0.3)
    parts: Iterator[SubFigure] = iter(figure.subfigures(rows, 1, squeeze=False)[:, 0])
    for title, grid in grids.items():
        part = next(parts)
        part.suptitle(title, x=0.01, ha='left', weight='bold', fontsize=10)
        _draw_grid(part, grid, bounded=grid is curves.similarities)
    if curves.fidelity:
        part = next(parts)
        part.suptitle("Fidelity: percent of the branch's own metric", x=0.01, ha='left', weight='bold', fontsize=10)
        _draw_fidelity(part.subplots(), curves.fidelity)
    handles, labels = figure.subfigs[0].axes[0].get_legend_handles_labels()
    columns = len({level for levels in curves.losses.values() for level in levels})
    figure.subfigs[0].legend(handles, labels, loc='upper right', ncols=columns, frameon=False, fontsize=8)
    save_png(figure, out)


def _draw_grid(part: SubFigure, grid: Mapping[str, Levels], bounded: bool) -> None:
    panels = part.subplots(1, len(grid), sharey=True, squeeze=False)[0]
    for axes, (branch, levels) in zip(panels, grid.items(), strict=True):
        for level, curve in sorted(levels.items()):
            # Deeper is darker, also in print.
            _plot(axes, curve, colormaps['viridis_r']((0.15, 0.42, 0.7, 0.97)[level % 4]), f'level {level}')
        axes.set_title(branch, fontsize=9)
        axes.set_xlabel('step', fontsize=8)
        _clean(axes)
    panels[0].set_ylim(bottom=0, top=1.02 if bounded else None)


def _draw_fidelity(axes: Axes, fidelity: Mapping[str, Curve]) -> None:
    # The mean last: on top, in black.
    names = sorted(fidelity, key=lambda name: name == _ALL_SOURCES)
    for index, name in enumerate(names):
        mean = name == _ALL_SOURCES
        _plot(axes, fidelity[name], 'black' if mean else _LINES[index % len(_LINES)], 'mean' if mean else name, mean)
    axes.axhline(100, color='#999999', linestyle=':', linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel('step', fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    _clean(axes)


def _plot(axes: Axes, curve: Curve, color: str | tuple, label: str, wide: bool = False) -> None:
    steps, values = zip(*curve, strict=True)
    # Markers only for a few points.
    marker = 'o' if len(steps) <= 12 else ''
    axes.plot(steps, values, label=label, color=color, linewidth=2.4 if wide else 1.6, marker=marker, markersize=3)


def _clean(axes: Axes) -> None:
    axes.set_xlim(left=0)
    axes.tick_params(labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', color='#e6e6e6', linewidth=0.8)
    axes.set_axisbelow(True)
