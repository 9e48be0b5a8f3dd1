"""Backgrounds, colours and paint."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

from xlearner_mm.mini import material, procedural
from xlearner_mm.mini.sample import IMAGE_SIZE

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def random_color(rng: np.random.Generator) -> np.ndarray:
    """Return an RGB colour, ``(3,)`` float32 in ``[0, 255]``."""
    hsv = rng.uniform(0, 1), rng.uniform(0.1, 1), rng.uniform(0.2, 1)
    return np.array(colorsys.hsv_to_rgb(*hsv), dtype=np.float32) * 255


def contrasting_color(rng: np.random.Generator, under: np.ndarray, least: float) -> np.ndarray:
    """Return a colour that stands out from what it is painted on.

    Args:
        rng: Source of randomness.
        under: ``(N, 3)`` pixels that will lie around or under the paint.
        least: Wanted distance in luminance from their mean, in grey levels of 255.

    Returns:
        ``(3,)`` float32 in ``[0, 255]``.
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
    # As if out of focus: a ground as crisp as the object would hide it from a small network.
    return np.clip(mean + (picture - mean) * rng.uniform(0.35, 0.8), 0, 255)


def _random_crop(rng: np.random.Generator, image: Image.Image, low: int, high: int) -> Image.Image:
    side = int(rng.integers(low, min(high, *image.size) + 1))
    x = int(rng.integers(image.width - side + 1))
    y = int(rng.integers(image.height - side + 1))
    size = (IMAGE_SIZE, IMAGE_SIZE)
    # `reducing_gap` shrinks in two passes: about twice as fast, and not visible at this size.
    crop = image.resize(size, Image.Resampling.BILINEAR, (x, y, x + side, y + side), reducing_gap=2)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def surface_tone(rng: np.random.Generator, name: str, low: int = 110, high: int = 300) -> np.ndarray:
    """Return a turned piece of a texture photograph.

    Args:
        rng: Source of randomness.
        name: One of ``material.SURFACES``.
        low: Smallest side cut out, in pixels of the photograph. Default: 110.
        high: Largest side cut out. Default: 300.

    Returns:
        ``(H, W)`` float32, about ``[0, 1]``.
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
    """Return a procedural texture.

    Args:
        rng: Source of randomness.
        name: Key of ``procedural.GROUNDS`` or ``procedural.UNSEEN``.
        low: Shortest period, in pixels. Default: 6.
        high: Longest period. Default: 14.

    Returns:
        ``(H, W)`` float32 in ``[0, 1]``.
    """
    u, v = procedural.bent_grid(rng, rng.uniform(low, high), bend=0.3)
    return procedural.ALL[name](rng, u, v).astype(np.float32)


def any_tone(rng: np.random.Generator) -> np.ndarray:
    """Return a piece of a random texture, photographed or procedural, ``(H, W)`` float32."""
    names = (*material.SURFACES, *procedural.GROUNDS)
    name = names[rng.integers(len(names))]
    return surface_tone(rng, name) if name in material.SURFACES else pattern_tone(rng, name)


def texture_ground(rng: np.random.Generator) -> np.ndarray:
    """Return a texture between two colours, ``(H, W, 3)`` float32 in ``[0, 255]``."""
    first = random_color(rng)
    second = np.clip(first + rng.uniform(-45, 45, 3), 0, 255).astype(np.float32)
    return blend(any_tone(rng), first, second)


def any_ground(rng: np.random.Generator) -> np.ndarray:
    """Return a photograph or a texture, each half of the time."""
    return photo_ground(rng) if rng.random() < 0.5 else texture_ground(rng)


def blend(tone: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return ``dark`` where the tone is 0 and ``light`` where it is 1, ``(H, W, 3)``."""
    return dark + tone[..., None] * (light - dark)


def paint(canvas: np.ndarray, mask: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Return the canvas with a fill, a colour or a whole picture, laid over it through a mask."""
    return canvas + mask[..., None] * (fill - canvas)


def rough_fill(rng: np.random.Generator, color: np.ndarray, depth: float = 0.25) -> np.ndarray:
    """Return a colour with some texture in it.

    Args:
        rng: Source of randomness.
        color: ``(3,)`` RGB.
        depth: How dark the texture gets, 0 to 1. Default: 0.25.

    Returns:
        ``(H, W, 3)`` float32.
    """
    return blend(any_tone(rng), color * (1 - depth), color)


def expose(rng: np.random.Generator, canvas: np.ndarray, noise: float = 6.0) -> np.ndarray:
    """Return the picture as a camera would give it: other brightness and contrast, and grain.

    Args:
        rng: Source of randomness.
        canvas: ``(H, W, 3)`` float.
        noise: Largest standard deviation of the grain, in grey levels. Default: 6.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    contrast = rng.uniform(0.75, 1.1)
    out = (canvas - 128) * contrast + 128 + rng.uniform(-20, 20)
    out = out + rng.uniform(0, noise) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
