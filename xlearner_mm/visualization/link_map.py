"""Heat map of the link strengths in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from xlearner_mm.checkpoint import read_checkpoint, resolve_checkpoint
from xlearner_mm.engine.hooks.link_strength_hook import LINKS_KEY
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.expansion.reconciliation import LinkKey
from xlearner_mm.visualization.png import blank_figure, save_png

Strengths = Mapping[LinkKey, float]
_End = tuple[str, int]


def read_links(checkpoint: str) -> tuple[int, dict[LinkKey, float]]:
    """Return the step at which the links of a checkpoint were measured, and their strengths.

    Args:
        checkpoint: of the expansion stage, or a work directory (its last one).

    Raises:
        CheckpointError: missing, damaged, or without link strengths.
    """
    path = resolve_checkpoint(checkpoint)
    measured = read_checkpoint(path).get('meta', {}).get(LINKS_KEY)
    if not measured:
        raise CheckpointError(
            f'checkpoint {path} holds no link strengths: train an expansion stage with links and with LinkStrengthHook '
            'in custom_hooks'
        )
    return measured['step'], {
        LinkKey(sender, j, receiver, i): value for sender, j, receiver, i, value in measured['links']
    }


def save_link_map(strengths: Strengths, out: Path, title: str) -> None:
    """Draw senders' levels against receivers' levels.

    Args:
        strengths: of every link; at least one.
        out: the PNG, written atomically.
        title: title of the figure.
    """
    branches = list(dict.fromkeys([key.receiver for key in strengths] + [key.sender for key in strengths]))

    def ends(present: set[_End]) -> list[_End]:
        return sorted(present, key=lambda end: (branches.index(end[0]), end[1]))

    rows = ends({(key.sender, key.sender_level) for key in strengths})
    columns = ends({(key.receiver, key.receiver_level) for key in strengths})
    grid = np.full((len(rows), len(columns)), np.nan)
    for key, value in strengths.items():
        grid[rows.index((key.sender, key.sender_level)), columns.index((key.receiver, key.receiver_level))] = value
    figure = blank_figure(2.2 + 0.62 * len(columns), 1.6 + 0.46 * len(rows))
    axes = figure.subplots()
    top = float(np.nanmax(grid)) or 1.0
    image = axes.imshow(np.ma.masked_invalid(grid), cmap='YlOrRd', vmin=0, vmax=top, aspect='auto')
    axes.set_facecolor('#f2f2f2')
    for row, column in zip(*np.nonzero(~np.isnan(grid)), strict=True):
        value = grid[row, column]
        color = 'white' if value > 0.6 * top else 'black'
        axes.text(column, row, f'{value:.2g}', ha='center', va='center', fontsize=8, color=color)
    axes.set_xticks(range(len(columns)), [f'{name} {level}' for name, level in columns], rotation=45, ha='right')
    axes.set_yticks(range(len(rows)), [f'{name} {level}' for name, level in rows])
    axes.set_xlabel('receiver and its level')
    axes.set_ylabel('sender and its level')
    axes.set_title(title, loc='left', weight='bold', fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for line, found in ((axes.axhline, rows), (axes.axvline, columns)):
        for place, (a, b) in enumerate(pairwise(found)):
            if a[0] != b[0]:
                line(place + 0.5, color='white', linewidth=3)
    figure.colorbar(image, ax=axes, label='mean |gamma(E)| / mean |E|')
    save_png(figure, out)
