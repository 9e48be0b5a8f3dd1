"""The stencils that class names stand for."""

from __future__ import annotations

import numpy as np

from xlearner_mm.mini import stencil
from xlearner_mm.mini.stencil import Stencil

_STAR = tuple(
    (0.5 + r * np.sin(np.pi * k / 5), 0.53 - r * np.cos(np.pi * k / 5)) for k, r in enumerate((0.52, 0.21) * 5)
)
_CROSS = (
    (0.35, 0), (0.65, 0), (0.65, 0.35), (1, 0.35), (1, 0.65), (0.65, 0.65),
    (0.65, 1), (0.35, 1), (0.35, 0.65), (0, 0.65), (0, 0.35), (0.35, 0.35),
)  # fmt: skip
_HALF = tuple((0.5 + 0.5 * np.cos(a), 0.25 + 0.5 * np.sin(a)) for a in np.linspace(0, np.pi, 25))
_HEART = tuple(
    (
        0.5 + 0.5 * np.sin(a) ** 3,
        0.45 - (13 * np.cos(a) - 5 * np.cos(2 * a) - 2 * np.cos(3 * a) - np.cos(4 * a)) / 32,
    )
    for a in np.linspace(0, 2 * np.pi, 40)
)
_ARROW = (
    (0, 0.36), (0.52, 0.36), (0.52, 0.1), (1, 0.5), (0.52, 0.9), (0.52, 0.64), (0, 0.64),
)  # fmt: skip

_POLYGONS = {
    'triangle': ((0.5, 0.07), (1, 0.93), (0, 0.93)),
    'square': ((0.08, 0.08), (0.92, 0.08), (0.92, 0.92), (0.08, 0.92)),
    'half_disc': _HALF,
    'star': _STAR,
    'cross': _CROSS,
    'heart': _HEART,
    'arrow': _ARROW,
}
_DISCS = {
    'circle': None,
    'disk': None,
    'ring': (0.5, 0.5, 0.28),
    'crescent': (0.75, 0.5, 0.42),
}

PICTOGRAMS = {
    'airplane': '✈', 'umbrella': '☂', 'telephone': '☎', 'spade': '♠', 'cloud': '☁',
    'rook': '♜', 'note': '♫', 'anchor': '⚓', 'scissors': '✂',
    'knight': '♞', 'club': '♣', 'flower': '✿', 'pawn': '♟',
    'gear': '⚙', 'snowflake': '❄', 'peace': '☮', 'recycle': '♻', 'radiation': '☢',
    'yin_yang': '☯', 'biohazard': '☣', 'scales_of_justice': '⚖', 'swords': '⚔',
    'envelope': '✉', 'pencil': '✏', 'hand': '✌',
}  # fmt: skip
"""The character of DejaVu Sans that draws a class."""


def form(name: str, rng: np.random.Generator, held_out: bool) -> Stencil:
    """Return a stencil of a class.

    Args:
        name: A shape, a pictogram, a digit or ``'face'``.
        rng: Chooses among many, for handwritten digits and faces.
        held_out: Whether to choose among the handwriting and people kept for measuring.

    Raises:
        KeyError: No such form.
    """
    if name == 'face':
        return stencil.face(int(rng.integers(1000)) % (30 if held_out else 70), held_out)
    if name.isdigit():
        return stencil.digit(int(name), int(rng.integers(44 if held_out else 130)), held_out)
    if name in _DISCS:
        return stencil.disc(_DISCS[name])
    if name in _POLYGONS:
        return stencil.polygon(_POLYGONS[name])
    return stencil.glyph(PICTOGRAMS[name])
