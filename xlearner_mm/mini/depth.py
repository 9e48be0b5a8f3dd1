"""A ray-traced room with boxes, and the depth of every pixel.

Height, tilt and focal length of the camera and the size of the room vary, so that neither the position of a pixel nor
the mean depth is a good guess. The cues are the positions of things on the floor, the scale of textures, the light of a
lamp at the camera, and haze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xlearner_mm.mini import canvas, material
from xlearner_mm.mini.catalog import IMAGE_SIZE, Sample

NEAREST, FARTHEST = 0.5, 10.0  # meters
_SURFACE_METERS = 2.0  # side of what a texture photograph shows
_TILES = ('stripes', 'checks', 'dots', 'weave', 'scales')  # patterns that do not need the grid of a picture


@dataclass
class _Buffer:
    """A picture and its depth.

    Args:
        rays: ``(3, H, W)``, right, up and ahead in the room, per meter along the optical axis.
        picture: ``(H, W, 3)`` float, before light and haze.
        depth: ``(H, W)``, meters along the optical axis.
    """

    rays: np.ndarray
    picture: np.ndarray
    depth: np.ndarray

    def add(self, depth: np.ndarray, fill: np.ndarray) -> None:
        """Draw a surface where it is nearer than the previous ones."""
        nearer = depth < self.depth
        self.depth = np.where(nearer, depth, self.depth)
        self.picture = np.where(nearer[..., None], fill, self.picture)


def room(rng: np.random.Generator, index: int, held_out: bool) -> Sample:
    """Return a view of a room and its depth in meters."""
    far = float(np.exp(rng.uniform(np.log(1.8), np.log(9.5))))
    eye = rng.uniform(0.5, 2.0)
    buffer = _Buffer(
        _rays(rng),
        np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3)),
        np.full((IMAGE_SIZE, IMAGE_SIZE), np.inf),
    )
    _add_walls(rng, buffer, far, eye)
    for _ in range(int(rng.integers(2, 6))):
        _add_box(rng, buffer, far, eye)
    depth = np.clip(buffer.depth, NEAREST, FARTHEST).astype(np.float32)
    return Sample(canvas.expose(rng, _lit(rng, buffer.picture, depth), 6), depth=depth)


def _rays(rng: np.random.Generator) -> np.ndarray:
    focal = rng.uniform(48, 70)
    tilt = np.deg2rad(rng.uniform(-8, 32))
    axis = (np.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2) / focal
    right, down = np.meshgrid(axis, axis)
    up = -down * np.cos(tilt) - np.sin(tilt)
    ahead = np.cos(tilt) - down * np.sin(tilt)
    return np.stack([right, up, ahead])


def _add_walls(rng: np.random.Generator, buffer: _Buffer, far: float, eye: float) -> None:
    """Add the floor, the ceiling, the wall ahead and the walls at both sides."""
    half = rng.uniform(0.35, 0.8) * far + 0.5
    wall = _Coat(rng)
    planes = (
        (1, -eye, (0, 2), _Coat(rng)),
        (1, rng.uniform(0.8, 2.2), (0, 2), _Coat(rng)),
        (2, far, (0, 1), wall),
        (0, -half, (2, 1), wall),
        (0, half, (2, 1), wall),
    )
    for axis, offset, span, coat in planes:
        with np.errstate(divide='ignore'):
            depth = offset / buffer.rays[axis]
        depth = np.where(depth > 0, np.minimum(depth, 99.0), np.inf)
        at = buffer.rays * np.where(np.isfinite(depth), depth, 0)
        shade = 0.8 if axis == 0 else 1.0
        buffer.add(depth, coat.fill(at[span[0]], at[span[1]]) * shade)


def _add_box(rng: np.random.Generator, buffer: _Buffer, far: float, eye: float) -> None:
    """Add a box on the floor, in view."""
    width, height, length = rng.uniform(0.2, 0.9, 3)
    ahead = rng.uniform(0.25, 0.95) * (far - length) + 0.5
    side = rng.uniform(-0.45, 0.45) * ahead
    low = np.array([side - width / 2, -eye, ahead])
    high = np.array([side + width / 2, min(-eye + 1.6 * height, 0.6), ahead + length])
    with np.errstate(divide='ignore'):
        first, second = (edge[:, None, None] / buffer.rays for edge in (low, high))
    enter, leave = np.minimum(first, second), np.maximum(first, second)
    depth = enter.max(0)
    face = enter.argmax(0)
    depth = np.where((depth > 0) & (depth < leave.min(0)), depth, np.inf)
    x, y, z = buffer.rays * np.where(np.isfinite(depth), depth, 0)
    # All faces have the same material, along their own two axes, with different shades.
    fill = _Coat(rng).fill(np.where(face == 0, z, x), np.where(face == 1, z, y))
    buffer.add(depth, fill * np.array([0.65, 1.15, 0.9])[face][..., None])


class _Coat:
    """A random material of a surface, at the scale of the room."""

    def __init__(self, rng: np.random.Generator) -> None:
        names = (*material.SURFACES, *_TILES)
        self._name = names[rng.integers(len(names))]
        self._period = rng.uniform(0.31, 0.33)
        self._rng = rng
        self._dark = canvas.random_color(rng) * 0.7 + 20
        self._light = np.clip(self._dark + rng.uniform(30, 110, 3), 0, 255)

    def fill(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the color at positions in meters, ``(H, W, 3)``."""
        if self._name in _TILES:
            tone = canvas.PATTERNS[self._name](self._rng, u / self._period, v / self._period)
        else:
            texture = np.asarray(material.surface(self._name), dtype=np.float32) / 255
            scale = len(texture) / _SURFACE_METERS
            rows, columns = (np.floor(c * scale).astype(int) % len(texture) for c in (v, u))
            tone = texture[rows, columns]
        return canvas.blend(tone, self._dark, self._light)


def _lit(rng: np.random.Generator, picture: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the picture with the light of the lamp and haze."""
    light = 1.25 / (1 + (depth / rng.uniform(7, 12)) ** 2)
    haze = 1 - np.exp(-depth / rng.uniform(14, 30))
    gray = np.full(3, rng.uniform(110, 145))
    return canvas.paint(picture * light[..., None], haze, gray)
