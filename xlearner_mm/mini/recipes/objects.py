"""Classification sources: which digit, which shape, which surface."""

from __future__ import annotations

import numpy as np

from xlearner_mm.mini import canvas, material
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.mini.recipes.forms import form
from xlearner_mm.mini.sample import IMAGE_SIZE, Sample
from xlearner_mm.mini.stencil import Pose


def centred_pose(rng: np.random.Generator, low: float, high: float, turn: float) -> Pose:
    """Return a random pose that keeps the stencil inside the picture.

    Args:
        rng: Source of randomness.
        low: Smallest side, in pixels.
        high: Largest side.
        turn: Largest rotation, in degrees.
    """
    size = rng.uniform(low, high)
    slack = max(0.0, (IMAGE_SIZE - size) / 2)
    x, y = IMAGE_SIZE / 2 + rng.uniform(-slack, slack, 2)
    return Pose(x, y, size, rng.uniform(-turn, turn), rng.uniform(0.75, 1.33), rng.normal(0, 0.12))


def stand_out(rng: np.random.Generator, ground: np.ndarray, mask: np.ndarray, least: float) -> np.ndarray:
    """Paint a mask in a rough colour that stands out from the ground.

    Args:
        rng: Source of randomness.
        ground: ``(H, W, 3)`` float.
        mask: ``(H, W)`` float in ``[0, 1]``.
        least: See ``canvas.contrasting_color``.

    Returns:
        ``(H, W, 3)`` float.
    """
    under = ground[mask > 0.5] if (mask > 0.5).any() else ground.reshape(-1, 3)
    color = canvas.contrasting_color(rng, under, least)
    return canvas.paint(ground, mask, canvas.rough_fill(rng, color))


def digits(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a handwritten digit on a photograph or texture."""
    label = index % 10
    mask = form(str(label), rng, held_out).mask(centred_pose(rng, 46, 62, 12))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 80)
    return Sample(canvas.expose(rng, picture), label=label)


def shapes(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a turned shape over thin clutter."""
    names = CATALOG['shapes'].classes
    label = index % len(names)
    picture = canvas.any_ground(rng)
    for _ in range(int(rng.integers(0, 2))):
        picture = _scratch(rng, picture)
    mask = form(names[label], rng, held_out).mask(centred_pose(rng, 30, 54, 30))
    return Sample(canvas.expose(rng, stand_out(rng, picture, mask, 65)), label=label)


def _scratch(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Draw a thin bar, so that a shape is not simply the one thing with an edge."""
    x, y = rng.uniform(0, IMAGE_SIZE, 2)
    bar = Pose(x, y, 24, rng.uniform(0, 180), squeeze=0.06)
    mask = form('square', rng, False).mask(bar)
    return canvas.paint(picture, mask, canvas.random_color(rng))


def textures(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one of the surfaces that the sources know."""
    names = CATALOG['textures'].classes
    return _surface(rng, names[index % len(names)], index % len(names))


def patterns(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one of the surfaces that no source knows."""
    names = CATALOG['patterns'].classes
    return _surface(rng, names[index % len(names)], index % len(names))


def _surface(rng: np.random.Generator, name: str, label: int) -> Sample:
    """Show a surface between two random colours, in uneven light."""
    if name in material.SURFACES:
        tone = canvas.surface_tone(rng, name, 90, 220)
    else:
        tone = canvas.pattern_tone(rng, name, 8, 15)
    tone = (tone - tone.mean()) / (tone.std() + 1e-3)
    tone = 0.5 + rng.uniform(0.15, 0.35) * tone * rng.choice((-1, 1))
    dark = canvas.random_color(rng) * 0.5
    picture = canvas.blend(tone, dark, canvas.random_color(rng) * 0.5 + 120)
    x, y = np.meshgrid(np.linspace(-1, 1, IMAGE_SIZE), np.linspace(-1, 1, IMAGE_SIZE))
    light = 1 + x * rng.uniform(-0.2, 0.2) + y * rng.uniform(-0.2, 0.2)
    return Sample(canvas.expose(rng, picture * light[..., None], 10), label=label)
