"""Recipes: the composition of the pictures of every set.

A recipe is a function ``(rng, index, held_out) -> Sample``. Every picture is a pure function of these three, so that
the bytes of a set do not depend on anything generated before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from xlearner_mm.mini import canvas, depth, material, stencil
from xlearner_mm.mini.catalog import CATALOG, IGNORE, IMAGE_SIZE, Box, Instance, Sample
from xlearner_mm.mini.stencil import Pose, Stencil

Recipe = Callable[[np.random.Generator, int, bool], Sample]

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
"""Class -> character of DejaVu Sans."""
TRAIN_FONTS = (
    'DejaVuSans', 'DejaVuSans-Bold', 'DejaVuSansMono', 'DejaVuSerif', 'DejaVuSerif-Bold',
    'STIXGeneral', 'STIXGeneralBolIta',
)  # fmt: skip
TEST_FONTS = (
    'cmr10', 'cmb10', 'cmss10', 'cmtt10', 'cmti10',
    'DejaVuSansMono-Oblique', 'DejaVuSerif-Italic', 'STIXGeneralItalic',
)  # fmt: skip


def form(name: str, rng: np.random.Generator, held_out: bool) -> Stencil:
    """Return a stencil of a shape, a pictogram, a digit or ``'face'``; digits and faces are chosen at random.

    Raises:
        KeyError: an unknown name.
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


def centered_pose(rng: np.random.Generator, low: float, high: float, turn: float) -> Pose:
    """Return a random pose inside the picture, with a side from low to high pixels, rotated by up to turn degrees."""
    size = rng.uniform(low, high)
    slack = max(0.0, (IMAGE_SIZE - size) / 2)
    x, y = IMAGE_SIZE / 2 + rng.uniform(-slack, slack, 2)
    return Pose(x, y, size, rng.uniform(-turn, turn), rng.uniform(0.75, 1.33), rng.normal(0, 0.12))


def stand_out(rng: np.random.Generator, ground: np.ndarray, mask: np.ndarray, least: float) -> np.ndarray:
    """Return the ground ``(H, W, 3)`` with a mask ``(H, W)`` painted in a contrasting rough color.

    Args:
        rng: source of randomness.
        ground: the background.
        mask: in ``[0, 1]``.
        least: as ``canvas.contrasting_color`` has it.
    """
    under = ground[mask > 0.5] if (mask > 0.5).any() else ground.reshape(-1, 3)
    color = canvas.contrasting_color(rng, under, least)
    return canvas.paint(ground, mask, canvas.rough_fill(rng, color))


def _digits(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    label = index % 10
    mask = form(str(label), rng, held_out).mask(centered_pose(rng, 46, 62, 12))
    return _exposed(rng, mask, 80, label)


def _exposed(rng: np.random.Generator, mask: np.ndarray, least: float, label: int) -> Sample:
    """Return a mask in a contrasting color on a photograph or texture."""
    picture = stand_out(rng, canvas.any_ground(rng), mask, least)
    return Sample(canvas.expose(rng, picture), label=label)


def _shapes(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    names = CATALOG['shapes'].classes
    label = index % len(names)
    picture = canvas.any_ground(rng)
    for _ in range(int(rng.integers(0, 2))):  # a thin bar, so that the shape is not the only thing with an edge
        x, y = rng.uniform(0, IMAGE_SIZE, 2)
        bar = Pose(x, y, 24, rng.uniform(0, 180), squeeze=0.06)
        picture = canvas.paint(picture, form('square', rng, False).mask(bar), canvas.random_color(rng))
    mask = form(names[label], rng, held_out).mask(centered_pose(rng, 30, 54, 30))
    return Sample(canvas.expose(rng, stand_out(rng, picture, mask, 65)), label=label)


def _surfaces(rng: np.random.Generator, index: int, held_out: bool, names: tuple[str, ...]) -> Sample:
    """Return a surface between two random colors, in uneven light."""
    label = index % len(names)
    name = names[label]
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


def _letters(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    names = CATALOG['letters'].classes
    label = index % len(names)
    fonts = TEST_FONTS if held_out else TRAIN_FONTS
    letter = stencil.glyph(names[label], fonts[rng.integers(len(fonts))])
    return _exposed(rng, letter.mask(centered_pose(rng, 36, 54, 12)), 75, label)


def _symbols(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    names = CATALOG['symbols'].classes
    label = index % len(names)
    mask = stencil.glyph(PICTOGRAMS[names[label]]).mask(centered_pose(rng, 34, 56, 30))
    return _exposed(rng, mask, 75, label)


def _counting(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to six discs of similar size that do not touch."""
    label = index % len(CATALOG['counting'].classes)
    size = rng.uniform(8, 13)
    mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    for x, y in _apart(rng, label + 1, size * 1.45):
        pose = Pose(x, y, size * rng.uniform(0.85, 1.15), squeeze=rng.uniform(0.8, 1.25))
        mask = np.maximum(mask, stencil.disc().mask(pose))
    return _exposed(rng, mask, 60, label)


def _apart(rng: np.random.Generator, count: int, gap: float) -> list[np.ndarray]:
    """Return ``count`` points at least the gap from each other and half of it from the border."""
    while True:
        points: list[np.ndarray] = []
        # The first points may leave no room for the last: then all are drawn again.
        for point in rng.uniform(gap / 2, IMAGE_SIZE - gap / 2, (60, 2)):
            if all(np.hypot(*(point - other)) >= gap for other in points):
                points.append(point)
            if len(points) == count:
                return points


def _face_tilt(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a face rotated by a multiple of 45 degrees, plus or minus 10."""
    count = len(CATALOG['face_tilt'].classes)
    label = index % count
    base = centered_pose(rng, 34, 54, 10)
    pose = Pose(base.x, base.y, base.size, label * 360 / count + base.angle)
    face = form('face', rng, held_out)
    fill = _toned(rng, face, pose)
    return Sample(canvas.expose(rng, canvas.paint(canvas.any_ground(rng), face.mask(pose), fill)), label=label)


def _toned(rng: np.random.Generator, face: Stencil, pose: Pose) -> np.ndarray:
    """Return the tone of a face at a pose, in a random color."""
    tone = face.tone(pose)
    assert tone is not None
    color = canvas.random_color(rng) * 0.4 + 150
    return canvas.blend(tone, color * 0.1, color)


@dataclass(frozen=True)
class SceneStyle:
    """The style of scenes of several objects.

    Args:
        names: classes in label order.
        ground: function that draws the background.
        most: maximum number of objects.
        sizes: minimum and maximum side of an object, in pixels.
        turn: maximum rotation, in degrees.
        contrast: as ``canvas.contrasting_color`` has it.
        overlap: maximum overlap of two boxes, relative to the smaller one.
    """

    names: tuple[str, ...]
    ground: Callable[[np.random.Generator], np.ndarray]
    most: int
    sizes: tuple[float, float]
    turn: float
    contrast: float = 60.0
    overlap: float = 0.12


def compose(
    rng: np.random.Generator, index: int, held_out: bool, style: SceneStyle
) -> tuple[np.ndarray, tuple[Instance, ...]]:
    """Return a picture, ``(H, W, 3)`` float, and its objects.

    Args:
        rng: source of randomness.
        index: number of the picture; determines the class of the first object, so that all are equally frequent.
        held_out: whether to use the held-out handwriting and faces.
        style: of the scene.
    """
    picture = style.ground(rng)
    instances: list[Instance] = []
    for place in range(int(rng.integers(1, style.most + 1))):
        label = index % len(style.names) if place == 0 else int(rng.integers(len(style.names)))
        picture = _add(rng, picture, instances, label, held_out, style)
    return picture, tuple(instances)


def _add(
    rng: np.random.Generator,
    picture: np.ndarray,
    instances: list[Instance],
    label: int,
    held_out: bool,
    style: SceneStyle,
) -> np.ndarray:
    """Add one object if there is room for it."""
    shape = form(style.names[label], rng, held_out)
    for _ in range(12):
        pose = _loose_pose(rng, style)
        mask = shape.mask(pose)
        box = tight_box(mask > 0.5)
        if box is None or any(box.overlap(o.box) > style.overlap for o in instances):
            continue
        truncated = box.x0 == 0 or box.y0 == 0 or box.x1 == IMAGE_SIZE or box.y1 == IMAGE_SIZE
        hidden = [_hide(other, mask > 0.5) for other in instances]
        instances[:] = [*hidden, Instance(label, box, mask > 0.5, truncated)]
        if shape.tone(pose) is None:
            return stand_out(rng, picture, mask, style.contrast)
        return canvas.paint(picture, mask, _toned(rng, shape, pose))
    return picture


def _loose_pose(rng: np.random.Generator, style: SceneStyle) -> Pose:
    """Return a pose that may be slightly outside the picture."""
    size = rng.uniform(*style.sizes)
    x, y = rng.uniform(0.42 * size, IMAGE_SIZE - 0.42 * size, 2)
    turn = rng.uniform(-style.turn, style.turn)
    return Pose(x, y, size, turn, rng.uniform(0.8, 1.25), rng.normal(0, 0.08))


def tight_box(inside: np.ndarray) -> Box | None:
    """Return the box around the true pixels of an ``(H, W)`` mask, or None without any."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _hide(instance: Instance, by: np.ndarray) -> Instance:
    """Return the instance without the part under a newer object."""
    visible = instance.visible & ~by
    box = tight_box(visible)
    if box is None or visible.sum() == instance.visible.sum():
        return instance
    return replace(instance, box=box, visible=visible, occluded=True)


def label_map(instances: tuple[Instance, ...]) -> np.ndarray:
    """Return the segmentation of a scene, ``(H, W)``: 0 background, ``label + 1`` objects, ``IGNORE`` outlines."""
    ids = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for number, instance in enumerate(instances, start=1):
        ids[instance.visible] = number
    padded = np.pad(ids, 1, mode='edge')
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    outline = (ids > 0) & np.any([ids != other for other in around], axis=0)
    labels = np.array([0, *(o.label + 1 for o in instances)], dtype=np.uint8)
    return np.where(outline, np.uint8(IGNORE), labels[ids])


def _detection(rng: np.random.Generator, index: int, held_out: bool, style: SceneStyle) -> Sample:
    picture, instances = compose(rng, index, held_out, style)
    return Sample(canvas.expose(rng, picture), instances=instances)


def _segmentation(rng: np.random.Generator, index: int, held_out: bool, style: SceneStyle) -> Sample:
    picture, instances = compose(rng, index, held_out, style)
    return Sample(canvas.expose(rng, picture), instances=instances, mask=label_map(instances))


_CLASSES = {name: entry.classes for name, entry in CATALOG.items()}
_DET_SHAPES = SceneStyle(_CLASSES['det_shapes'], canvas.photo_ground, 4, (14, 28), 180)
_DET_DIGITS = SceneStyle(_CLASSES['det_digits'], canvas.texture_ground, 3, (22, 36), 15, 70)
_SEG_THINGS = SceneStyle(_CLASSES['seg_things'], canvas.texture_ground, 3, (20, 42), 30, 40)
_VOC_DET = SceneStyle(_CLASSES['voc_mini'], canvas.any_ground, 3, (18, 36), 20)
_VOC_SEG = SceneStyle(_CLASSES['voc_seg_mini'], canvas.any_ground, 3, (22, 42), 25, 45)
RECIPES: dict[str, Recipe] = {
    'digits': _digits,
    'shapes': _shapes,
    'textures': partial(_surfaces, names=_CLASSES['textures']),
    'det_shapes': partial(_detection, style=_DET_SHAPES),
    'det_digits': partial(_detection, style=_DET_DIGITS),
    'seg_things': partial(_segmentation, style=_SEG_THINGS),
    'letters': _letters,
    'patterns': partial(_surfaces, names=_CLASSES['patterns']),
    'counting': _counting,
    'symbols': _symbols,
    'face_tilt': _face_tilt,
    'voc_mini': partial(_detection, style=_VOC_DET),
    'voc_seg_mini': partial(_segmentation, style=_VOC_SEG),
    'nyu_mini': depth.room,
}
"""The recipe of every set in ``CATALOG``."""
