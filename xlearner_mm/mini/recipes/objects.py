"""Classification sources: which digit, which shape, which surface."""

from __future__ import annotations

import numpy as np

from xlearner_mm.mini import canvas, material, stencil
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.mini.sample import IMAGE_SIZE, Sample
from xlearner_mm.mini.stencil import Pose, Stencil, disc

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


TRAIN_FONTS = (
    'DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSansMono', 'DejaVuSerif', 'DejaVuSerif-Bold',
    'STIXGeneral', 'STIXGeneralBolIta',
)  # fmt: skip
TEST_FONTS = (
    'cmr10', 'cmb10', 'cmss10', 'cmtt10', 'cmti10',
    'DejaVuSansMono-Oblique', 'DejaVuSerif-Italic', 'STIXGeneralItalic',
)  # fmt: skip


def letters(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a capital letter; held-out letters are in typefaces of their own."""
    names = CATALOG['letters'].classes
    label = index % len(names)
    fonts = TEST_FONTS if held_out else TRAIN_FONTS
    form = stencil.glyph(names[label], fonts[rng.integers(len(fonts))])
    mask = form.mask(centred_pose(rng, 36, 54, 12))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 75)
    return Sample(canvas.expose(rng, picture), label=label)


def symbols(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a pictogram."""
    names = CATALOG['symbols'].classes
    label = index % len(names)
    mask = stencil.glyph(PICTOGRAMS[names[label]]).mask(centred_pose(rng, 34, 56, 30))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 75)
    return Sample(canvas.expose(rng, picture), label=label)


def counting(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to six discs of about one size that do not touch."""
    label = index % len(CATALOG['counting'].classes)
    size = rng.uniform(8, 13)
    mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    for x, y in _apart(rng, label + 1, size * 1.45):
        pose = Pose(x, y, size * rng.uniform(0.85, 1.15), squeeze=rng.uniform(0.8, 1.25))
        mask = np.maximum(mask, disc().mask(pose))
    picture = stand_out(rng, canvas.any_ground(rng), mask, 60)
    return Sample(canvas.expose(rng, picture), label=label)


def _apart(rng: np.random.Generator, count: int, gap: float) -> list[np.ndarray]:
    """Return ``count`` points that keep the gap from each other and half of it from the border."""
    while True:
        points: list[np.ndarray] = []
        # The first points can leave no room for the last: then all are drawn again.
        for point in rng.uniform(gap / 2, IMAGE_SIZE - gap / 2, (60, 2)):
            if all(np.hypot(*(point - other)) >= gap for other in points):
                points.append(point)
            if len(points) == count:
                return points


def face_tilt(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a face turned by a multiple of 45 degrees, give or take 10."""
    count = len(CATALOG['face_tilt'].classes)
    label = index % count
    base = centred_pose(rng, 34, 54, 10)
    pose = Pose(base.x, base.y, base.size, label * 360 / count + base.angle)
    stencil = form('face', rng, held_out)
    tone = stencil.tone(pose)
    assert tone is not None  # a face always has one
    color = canvas.random_color(rng) * 0.4 + 150
    fill = canvas.blend(tone, color * 0.1, color)
    picture = canvas.paint(canvas.any_ground(rng), stencil.mask(pose), fill)
    return Sample(canvas.expose(rng, picture), label=label)
