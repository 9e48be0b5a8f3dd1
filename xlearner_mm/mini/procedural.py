"""Procedural textures: patterns as functions of rotated, scaled and bent coordinates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from xlearner_mm.mini.sample import IMAGE_SIZE

Grid = tuple[np.ndarray, np.ndarray]
Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]

_AXIS = np.arange(IMAGE_SIZE, dtype=np.float32) - IMAGE_SIZE / 2


def soft_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise.

    Args:
        rng: Source of randomness.
        cells: Number of random values along a side; more is finer.

    Returns:
        ``(H, W)`` float32, about ``[-1, 1]``.
    """
    values = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    grown = Image.fromarray(values).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(grown)


def bent_grid(rng: np.random.Generator, period: float, bend: float = 0.5) -> Grid:
    """Return coordinates whose unit is one period of a pattern.

    Args:
        rng: Source of randomness.
        period: Pixels per period.
        bend: How far the grid is bent, in periods. Default: 0.5.

    Returns:
        Two ``(H, W)`` arrays.
    """
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle) / period, np.sin(angle) / period
    u = cos * _AXIS[None, :] + sin * _AXIS[:, None] + rng.uniform(0, 1)
    v = -sin * _AXIS[None, :] + cos * _AXIS[:, None] + rng.uniform(0, 1)
    return u + bend * soft_noise(rng, 4), v + bend * soft_noise(rng, 4)


def _wave(x: np.ndarray, sharpness: float = 4.0) -> np.ndarray:
    """Return a soft square wave of period 1 in ``[0, 1]``."""
    return 0.5 + 0.5 * np.tanh(sharpness * np.sin(2 * np.pi * x))


def stripes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Parallel bands."""
    return _wave(u)


def zigzag(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bands that turn back and forth."""
    return _wave(u + 0.9 * np.abs((0.6 * v) % 1 - 0.5) * 2)


def checks(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A chessboard."""
    return 0.5 + 0.5 * np.tanh(5 * np.sin(np.pi * 1.4 * u) * np.sin(np.pi * 1.4 * v))


def dots(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Round spots in staggered rows."""
    v = v * 1.15
    shifted = u + 0.5 * (np.floor(v) % 2)
    radius = np.hypot(shifted % 1 - 0.5, v % 1 - 0.5)
    return 0.5 + 0.5 * np.tanh(14 * (0.3 - radius))


def weave(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Threads that pass over and under each other."""
    over = (np.floor(u) + np.floor(v)) % 2
    along, across = np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)
    return np.where(over > 0, 1 - 2 * along, 1 - 2 * across) ** 0.7


def scales(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rows of overlapping arcs, as on a fish."""
    row = np.floor(v)
    x = (u + 0.5 * (row % 2)) % 1 - 0.5
    return (v % 1 + 1.6 * x**2) % 1


def wood(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Growth rings cut lengthwise."""
    rings = u * 0.9 + 1.2 * soft_noise(rng, 3) + 0.15 * v
    return 0.75 * (rings % 1) + 0.25 * (0.5 + 0.5 * soft_noise(rng, 24))


def marble(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Thin veins on a cloudy ground."""
    cloud = soft_noise(rng, 4) + 0.5 * soft_noise(rng, 8) + 0.25 * soft_noise(rng, 16)
    return 1 - np.abs(np.sin(1.3 * u + 2.4 * cloud)) ** 0.45


def cells(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cracked mud: the borders of a Voronoi diagram."""
    low_u, low_v = u.min(), v.min()
    count = int(np.clip(0.7 * np.ptp(u) * np.ptp(v), 6, 40))
    seeds = rng.uniform(0, 1, (count, 2)) * [np.ptp(u), np.ptp(v)] + [low_u, low_v]
    near = np.full((2, *u.shape), np.inf, dtype=np.float32)
    for x, y in seeds:
        away = np.hypot(u - x, v - y)
        near[1] = np.minimum(near[1], np.maximum(near[0], away))
        near[0] = np.minimum(near[0], away)
    return np.tanh(4 * (near[1] - near[0]))


def plaid(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Translucent bands that cross at right angles."""
    return 0.5 * _wave(u, 3) + 0.5 * _wave(v, 3)


def rings(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Circles around one centre."""
    return _wave(np.hypot(u - rng.uniform(-1, 1), v - rng.uniform(-1, 1)))


def dashes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Broken thin lines, each row shifted by half a dash."""
    row = np.floor(v * 1.4)
    along = np.abs((u * 0.8 + 0.5 * (row % 2)) % 1 - 0.5)
    across = np.abs((v * 1.4) % 1 - 0.5)
    return 0.5 + 0.5 * np.tanh(12 * np.minimum(0.32 - along, 0.2 - across) / 0.5)


def cobbles(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rounded stones in staggered rows, touching."""
    angles = np.deg2rad([0, 60, 120])
    waves = [np.cos(2 * np.pi * (np.cos(a) * u + np.sin(a) * v)) for a in angles]
    return np.tanh(2.2 * (np.sum(waves, axis=0) / 3 + 0.35)) * 0.5 + 0.5


def blotches(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Large irregular patches, as on a cow."""
    return 0.5 + 0.5 * np.tanh(8 * (soft_noise(rng, 6) + 0.4 * soft_noise(rng, 11)))


def fur(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Fine streaks in one direction."""
    hairs = rng.uniform(0, 1, (64, 8)).astype(np.float32)
    rows = np.floor(u * 9).astype(int) % 64
    return hairs[rows, np.floor(v * 0.9 + rows * 0.37).astype(int) % 8]


GROUNDS: dict[str, Pattern] = {
    'stripes': stripes,
    'zigzag': zigzag,
    'dots': dots,
    'weave': weave,
    'wood': wood,
    'marble': marble,
    'cells': cells,
}
"""Patterns of the sources, also used as grounds and fills everywhere; values are in ``[0, 1]``."""

UNSEEN: dict[str, Pattern] = {
    'checks': checks,
    'scales': scales,
    'plaid': plaid,
    'rings': rings,
    'dashes': dashes,
    'cobbles': cobbles,
    'blotches': blotches,
    'fur': fur,
}
"""Patterns that no source shows."""

ALL: dict[str, Pattern] = {**GROUNDS, **UNSEEN}
"""Every pattern by its class name."""
