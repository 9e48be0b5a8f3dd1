"""Transfer sets that ask for a property rather than for a kind: number and orientation."""

from __future__ import annotations

import numpy as np

from xlearner_mm.mini import canvas
from xlearner_mm.mini.catalog import CATALOG
from xlearner_mm.mini.recipes.forms import form
from xlearner_mm.mini.recipes.objects import centred_pose, stand_out
from xlearner_mm.mini.sample import IMAGE_SIZE, Sample
from xlearner_mm.mini.stencil import Pose, disc


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
