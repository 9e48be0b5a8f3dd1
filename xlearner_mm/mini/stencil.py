"""Stencils: all objects of XL-Mini as masks that can be rotated and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from xlearner_mm.mini import material
from xlearner_mm.mini.catalog import IMAGE_SIZE

_LEVELS = (96, 48, 24)  # sides at which a stencil is stored, against aliasing


@dataclass(frozen=True)
class Pose:
    """The position and the transformation of a stencil in the picture.

    Args:
        x: center, in pixels.
        y: center, in pixels.
        size: side of the stencil's square, in pixels.
        angle: rotation in degrees, counterclockwise. Defaults to 0.
        squeeze: factor of the aspect ratio. Defaults to 1.
        shear: horizontal shift per unit of height. Defaults to 0.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0
    squeeze: float = 1.0
    shear: float = 0.0


class Stencil:
    """A square mask at several sizes, for faces with a tone inside.

    Args:
        mask: gray image, 255 inside.
        tone: gray image of the same size as fill of the mask. Defaults to None: any fill.
    """

    def __init__(self, mask: Image.Image, tone: Image.Image | None = None) -> None:
        self._masks = _pyramid(mask)
        self._tones = None if tone is None else _pyramid(tone)

    def mask(self, pose: Pose) -> np.ndarray:
        """Return the mask in the picture, ``(H, W)`` float32 in ``[0, 1]``."""
        return _warp(self._masks, pose)

    def tone(self, pose: Pose) -> np.ndarray | None:
        """Return the tone in the picture, ``(H, W)`` float32 in ``[0, 1]``, or None."""
        return None if self._tones is None else _warp(self._tones, pose)


def _pyramid(image: Image.Image) -> list[Image.Image]:
    return [image.resize((side, side), Image.Resampling.BICUBIC) for side in _LEVELS]


def _warp(levels: list[Image.Image], pose: Pose) -> np.ndarray:
    """Sample the level of the right size at the pose; 0 outside the stencil."""
    level = next((im for im in reversed(levels) if im.width >= pose.size), levels[0])
    side = level.width
    theta = np.deg2rad(pose.angle)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    width = pose.size * np.sqrt(pose.squeeze)
    height = pose.size / np.sqrt(pose.squeeze)
    # PIL needs the inverse map, from the picture to the stencil.
    back = np.diag([side / width, side / height]) @ np.array([[1, pose.shear], [0, 1]]) @ turn
    shift = side / 2 - back @ np.array([pose.x, pose.y])
    coefficients = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    out = level.transform((IMAGE_SIZE, IMAGE_SIZE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(out, dtype=np.float32) / 255


@cache
def glyph(char: str, font: str = 'DejaVuSans') -> Stencil:
    """Return a letter or a pictogram in one of matplotlib's fonts."""
    face = ImageFont.truetype(str(material.font_file(font)), 160)
    left, top, right, bottom = face.getbbox(char)
    side = int(max(right - left, bottom - top)) + 4
    mask = Image.new('L', (side, side))
    at = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(mask).text(at, char, fill=255, font=face)
    return Stencil(mask)


@cache
def digit(value: int, index: int, held_out: bool) -> Stencil:
    """Return a scan of a handwritten digit; the index is taken modulo the number of scans."""
    scans = material.digit_scans(value, held_out)
    scan = np.pad(scans[index % len(scans)], 1)
    grown = Image.fromarray((scan * 255).astype(np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    return Stencil(grown.point([int(np.clip((v - 70) * 2.2, 0, 255)) for v in range(256)]))


@cache
def face(index: int, held_out: bool) -> Stencil:
    """Return a face inside an oval; the index is taken modulo the number of faces."""
    crops = material.faces(held_out)
    crop = np.clip(crops[index % len(crops)] * 255, 0, 255).astype(np.uint8)
    tone = Image.fromarray(crop).resize((96, 96), Image.Resampling.BICUBIC)
    mask = _draw(lambda pen, s: pen.ellipse((0.08 * s, 0, 0.92 * s, s), fill=255))
    return Stencil(mask.filter(ImageFilter.GaussianBlur(1)).resize((96, 96)), tone)


def _draw(paint: Callable[[ImageDraw.ImageDraw, int], None], side: int = 192) -> Image.Image:
    """Return a square drawn by ``paint(pen, side)``."""
    image = Image.new('L', (side, side))
    paint(ImageDraw.Draw(image), side)
    return image


@cache
def polygon(points: tuple[tuple[float, float], ...]) -> Stencil:
    """Return a filled polygon with corners in the unit square."""
    return Stencil(_draw(lambda pen, s: pen.polygon([(x * s, y * s) for x, y in points], fill=255)))


@cache
def disc(hole: tuple[float, float, float] | None = None) -> Stencil:
    """Return a disc, with a round hole ``(x, y, radius)`` in the unit square, if given."""

    def paint(pen: ImageDraw.ImageDraw, s: int) -> None:
        pen.ellipse((0, 0, s - 1, s - 1), fill=255)
        if hole is not None:
            x, y, r = hole
            pen.ellipse(((x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s), fill=0)

    return Stencil(_draw(paint))
