"""Scenes of several objects, for detection and segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xlearner_mm.mini import canvas
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.mini.recipes.objects import form, stand_out
from xlearner_mm.mini.sample import IGNORE, IMAGE_SIZE, Box, Instance, Sample
from xlearner_mm.mini.stencil import Pose


@dataclass(frozen=True)
class SceneStyle:
    """What a scene looks like.

    Args:
        names: Classes to choose from, in label order.
        ground: Makes the background.
        most: Largest number of objects.
        sizes: Smallest and largest side of an object, in pixels.
        turn: Largest rotation, in degrees.
        contrast: See ``canvas.contrasting_color``.
        overlap: Largest share of the smaller of two boxes that they may share.
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
        rng: Source of randomness.
        index: Number of the picture; the class of the first object follows from it, so that all
            classes are equally frequent.
        held_out: Whether to use the handwriting and people kept for measuring.
        style: What the scene looks like.
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
    """Put one object where there is room for it; leave it out when there is none."""
    stencil = form(style.names[label], rng, held_out)
    for _ in range(12):
        pose = _loose_pose(rng, style)
        mask = stencil.mask(pose)
        box = tight_box(mask > 0.5)
        if box is None or any(box.overlap(o.box) > style.overlap for o in instances):
            continue
        truncated = box.x0 == 0 or box.y0 == 0 or box.x1 == IMAGE_SIZE or box.y1 == IMAGE_SIZE
        hidden = [_hide(other, mask > 0.5) for other in instances]
        instances[:] = [*hidden, Instance(label, box, mask > 0.5, truncated)]
        tone = stencil.tone(pose)
        if tone is None:
            return stand_out(rng, picture, mask, style.contrast)
        color = canvas.random_color(rng) * 0.4 + 150
        return canvas.paint(picture, mask, canvas.blend(tone, color * 0.1, color))
    return picture


def _loose_pose(rng: np.random.Generator, style: SceneStyle) -> Pose:
    """Return a pose that may leave the picture by a little."""
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
    """Return the instance with what lies under a newer object taken off."""
    visible = instance.visible & ~by
    box = tight_box(visible)
    if box is None or visible.sum() == instance.visible.sum():
        return instance
    return replace(instance, box=box, visible=visible, occluded=True)


def label_map(instances: tuple[Instance, ...]) -> np.ndarray:
    """Return the segmentation of a scene.

    Args:
        instances: Objects, each with class ``label``.

    Returns:
        ``(H, W)`` uint8: 0 background, ``label + 1`` an object, ``IGNORE`` its outermost pixels.
    """
    ids = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for number, instance in enumerate(instances, start=1):
        ids[instance.visible] = number
    padded = np.pad(ids, 1, mode='edge')
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    outline = (ids > 0) & np.any([ids != other for other in around], axis=0)
    labels = np.array([0, *(o.label + 1 for o in instances)], dtype=np.uint8)
    return np.where(outline, np.uint8(IGNORE), labels[ids])


DET_SHAPES = SceneStyle(CATALOG['det_shapes'].classes, canvas.photo_ground, 4, (14, 28), 180)
DET_DIGITS = SceneStyle(CATALOG['det_digits'].classes, canvas.texture_ground, 3, (22, 36), 15, 70)
SEG_THINGS = SceneStyle(CATALOG['seg_things'].classes, canvas.texture_ground, 3, (20, 42), 30, 40)
VOC_DET = SceneStyle(CATALOG['voc_mini'].classes, canvas.any_ground, 3, (18, 36), 20)
VOC_SEG = SceneStyle(CATALOG['voc_seg_mini'].classes, canvas.any_ground, 3, (22, 42), 25, 45)


def det_shapes(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to four shapes on a photograph, with boxes."""
    return _detection(rng, index, held_out, DET_SHAPES)


def det_digits(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to three handwritten digits on a texture, with boxes."""
    return _detection(rng, index, held_out, DET_DIGITS)


def voc_det(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to three faces or pictograms, with boxes."""
    return _detection(rng, index, held_out, VOC_DET)


def seg_things(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to three pictograms on a texture, with a mask."""
    return _segmentation(rng, index, held_out, SEG_THINGS)


def voc_seg(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return one to three faces or pictograms, with a mask."""
    return _segmentation(rng, index, held_out, VOC_SEG)


def _detection(rng: np.random.Generator, index: int, held_out: bool, style: SceneStyle) -> Sample:
    picture, instances = compose(rng, index, held_out, style)
    return Sample(canvas.expose(rng, picture), instances=instances)


def _segmentation(rng: np.random.Generator, index: int, held_out: bool, style: SceneStyle) -> Sample:
    picture, instances = compose(rng, index, held_out, style)
    return Sample(canvas.expose(rng, picture), instances=instances, mask=label_map(instances))
