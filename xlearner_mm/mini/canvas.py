"""Pictures: procedural patterns, backgrounds, colors and paint."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image

from xlearner_mm.mini import material
from xlearner_mm.mini.catalog import IMAGE_SIZE

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
Grid = tuple[np.ndarray, np.ndarray]
Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]

_AXIS = np.arange(IMAGE_SIZE, dtype=np.float32) - IMAGE_SIZE / 2


def soft_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise from ``cells`` x ``cells`` random values, ``(H, W)`` float32, about ``[-1, 1]``."""
    values = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    grown = Image.fromarray(values).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(grown)


def bent_grid(rng: np.random.Generator, period: float, bend: float) -> Grid:
    """Return two ``(H, W)`` arrays of coordinates in periods of a pattern, rotated and randomly bent.

    Args:
        rng: source of randomness.
        period: in pixels.
        bend: in periods.
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
    """Circles around one center."""
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


_KNOWN = (stripes, zigzag, dots, weave, wood, marble, cells)
_UNSEEN = (checks, scales, plaid, rings, dashes, cobbles, blotches, fur)
SOURCE_PATTERNS = tuple(pattern.__name__ for pattern in _KNOWN)
"""Patterns of the sources, also used as grounds and fills everywhere."""
PATTERNS: dict[str, Pattern] = {pattern.__name__: pattern for pattern in (*_KNOWN, *_UNSEEN)}
"""All patterns by class name, those that no source shows last; values are in ``[0, 1]``."""


def random_color(rng: np.random.Generator) -> np.ndarray:
    """Return an RGB color, ``(3,)`` float32 in ``[0, 255]``."""
    hsv = rng.uniform(0, 1), rng.uniform(0.1, 1), rng.uniform(0.2, 1)
    return np.array(colorsys.hsv_to_rgb(*hsv), dtype=np.float32) * 255


def contrasting_color(rng: np.random.Generator, under: np.ndarray, least: float) -> np.ndarray:
    """Return a color, ``(3,)`` float32 in ``[0, 255]``, that contrasts with the pixels under it.

    Args:
        rng: source of randomness.
        under: ``(N, 3)`` pixels around or under the paint.
        least: desired difference in luminance from their mean, of 255.
    """
    base = float((under @ _LUMA).mean())
    color = random_color(rng)
    for _ in range(8):
        if abs(float(color @ _LUMA) - base) >= least:
            return color
        color = random_color(rng)
    shade = 255.0 if base < 128 else 0.0
    return (0.7 * shade + 0.3 * color).astype(np.float32)


def photo_ground(rng: np.random.Generator) -> np.ndarray:
    """Return a random piece of a photograph, ``(H, W, 3)`` float32 in ``[0, 255]``."""
    photo = material.photograph(material.PHOTOGRAPHS[rng.integers(len(material.PHOTOGRAPHS))])
    crop = _random_crop(rng, photo, 64, 256)
    tint = rng.uniform(0.7, 1.15, 3).astype(np.float32)
    picture = np.asarray(crop, dtype=np.float32) * tint
    mean = picture.mean((0, 1))
    # Low contrast, as if out of focus: a small network would not find the object on a crisp ground.
    return np.clip(mean + (picture - mean) * rng.uniform(0.35, 0.8), 0, 255)


def _random_crop(rng: np.random.Generator, image: Image.Image, low: int, high: int) -> Image.Image:
    side = int(rng.integers(low, min(high, *image.size) + 1))
    x = int(rng.integers(image.width - side + 1))
    y = int(rng.integers(image.height - side + 1))
    size = (IMAGE_SIZE, IMAGE_SIZE)
    # `reducing_gap` resizes in two passes: about twice as fast, not visible at this size.
    crop = image.resize(size, Image.Resampling.BILINEAR, (x, y, x + side, y + side), reducing_gap=2)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def surface_tone(rng: np.random.Generator, name: str, low: int = 110, high: int = 300) -> np.ndarray:
    """Return a rotated piece of a texture photograph, ``(H, W)`` float32, about ``[0, 1]``.

    Args:
        rng: source of randomness.
        name: of ``material.SURFACES``.
        low: minimum side, in pixels of the photograph. Defaults to 110.
        high: maximum side. Defaults to 300.
    """
    image = material.surface(name)
    side = rng.uniform(low, high)
    angle = rng.uniform(0, 2 * np.pi)
    reach = side / 2 * 1.42
    x, y = rng.uniform(reach, image.width - reach), rng.uniform(reach, image.height - reach)
    a, b = side / IMAGE_SIZE * np.cos(angle), side / IMAGE_SIZE * np.sin(angle)
    half = IMAGE_SIZE / 2
    back = (a, b, x - half * (a + b), -b, a, y - half * (a - b))
    size = (IMAGE_SIZE, IMAGE_SIZE)
    piece = image.transform(size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    return np.asarray(piece, dtype=np.float32) / 255


def pattern_tone(rng: np.random.Generator, name: str, low: float = 6, high: float = 14) -> np.ndarray:
    """Return a procedural texture, ``(H, W)`` float32 in ``[0, 1]``.

    Args:
        rng: source of randomness.
        name: of :data:`PATTERNS`.
        low: minimum period, in pixels. Defaults to 6.
        high: maximum period. Defaults to 14.
    """
    u, v = bent_grid(rng, rng.uniform(low, high), bend=0.3)
    return PATTERNS[name](rng, u, v).astype(np.float32)


def any_tone(rng: np.random.Generator) -> np.ndarray:
    """Return a piece of a random texture, photographed or procedural, ``(H, W)`` float32."""
    names = (*material.SURFACES, *SOURCE_PATTERNS)
    name = names[rng.integers(len(names))]
    return surface_tone(rng, name) if name in material.SURFACES else pattern_tone(rng, name)


def texture_ground(rng: np.random.Generator) -> np.ndarray:
    """Return a texture between two colors, ``(H, W, 3)`` float32 in ``[0, 255]``."""
    first = random_color(rng)
    second = np.clip(first + rng.uniform(-45, 45, 3), 0, 255).astype(np.float32)
    return blend(any_tone(rng), first, second)


def any_ground(rng: np.random.Generator) -> np.ndarray:
    """Return a photograph or a texture with equal probability."""
    return photo_ground(rng) if rng.random() < 0.5 else texture_ground(rng)


def blend(tone: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return ``dark`` where the tone is 0 and ``light`` where it is 1, ``(H, W, 3)``."""
    return dark + tone[..., None] * (light - dark)


def paint(canvas: np.ndarray, mask: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Return the canvas with a fill, a color or a whole picture, painted through a mask."""
    return canvas + mask[..., None] * (fill - canvas)


def rough_fill(rng: np.random.Generator, color: np.ndarray) -> np.ndarray:
    """Return a color with a texture up to 25% darker, ``(H, W, 3)`` float32."""
    return blend(any_tone(rng), color * 0.75, color)


def expose(rng: np.random.Generator, canvas: np.ndarray, noise: float = 6.0) -> np.ndarray:
    """Return a picture with random brightness, contrast and noise, ``(H, W, 3)`` uint8.

    Args:
        rng: source of randomness.
        canvas: ``(H, W, 3)`` float.
        noise: maximum standard deviation of the noise, of 255. Defaults to 6.
    """
    contrast = rng.uniform(0.75, 1.1)
    out = (canvas - 128) * contrast + 128 + rng.uniform(-20, 20)
    out = out + rng.uniform(0, noise) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
