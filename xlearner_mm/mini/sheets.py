"""Contact sheets: what a person looks at before training on a set."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.material import font_file
from xlearner_mm.mini.recipes.depth import FARTHEST
from xlearner_mm.mini.sample import IGNORE, IMAGE_SIZE, Sample

_COLUMNS = 8
_ZOOM = 2
_TEXT = 14  # height of the line under a picture, in pixels


def save_sheet(path: Path, entry: MiniSet, samples: Iterable[Sample]) -> None:
    """Draw pictures with their labels on one sheet.

    Args:
        path: PNG to write; its folder is made when it is missing.
        entry: The set that the samples are of.
        samples: What to draw, row by row.
    """
    tiles = [_tile(entry, sample) for sample in samples]
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new('RGB', (_COLUMNS * (width + 4), rows * (height + 4) + 20), 'white')
    title = f'{entry.name} ({entry.role}, {entry.task}): {entry.about}'
    ImageDraw.Draw(sheet).text((4, 2), title, fill='black', font=_font(12))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (column * (width + 4) + 2, row * (height + 4) + 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file('DejaVuSans')), size)


def _color(label: int, count: int) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(label / count, 0.9, 1)
    return round(r * 255), round(g * 255), round(b * 255)


def _enlarged(image: np.ndarray) -> Image.Image:
    side = IMAGE_SIZE * _ZOOM
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def _tile(entry: MiniSet, sample: Sample) -> Image.Image:
    """Return the picture, beside it its mask or depth, and under it the names of what it shows."""
    parts = [_enlarged(sample.image)]
    if sample.mask is not None:
        parts.append(_enlarged(_colored_mask(sample.mask, len(entry.classes))))
    elif sample.depth is not None:
        colored = matplotlib.colormaps['turbo'](1 - sample.depth / FARTHEST)[..., :3]
        parts.append(_enlarged((colored * 255).astype(np.uint8)))
    side = IMAGE_SIZE * _ZOOM
    tile = Image.new('RGB', (side * len(parts), side + _TEXT), 'white')
    for place, part in enumerate(parts):
        tile.paste(part, (place * side, 0))
    pen = ImageDraw.Draw(tile)
    count = max(1, len(entry.classes))
    if sample.mask is None:
        for instance in sample.instances:
            corners = [_ZOOM * v for v in instance.box]
            pen.rectangle(corners, outline=_color(instance.label, count), width=2)
    words = _words(entry, sample)
    at = 2.0
    for text, label in words:
        fill = 'black' if label < 0 else tuple(int(c * 0.75) for c in _color(label, count))
        pen.text((at, side), text, fill=fill, font=_font(10))
        at += pen.textlength(text + ' ', font=_font(10))
    return tile


def _words(entry: MiniSet, sample: Sample) -> list[tuple[str, int]]:
    """Return the caption as words with the label whose colour they take, -1 for black."""
    if sample.depth is not None:
        return [(f'{sample.depth.min():.1f} to {sample.depth.max():.1f} m', -1)]
    if sample.label >= 0:
        return [(entry.classes[sample.label], -1)]
    return [(entry.classes[instance.label], instance.label) for instance in sample.instances]


def _colored_mask(mask: np.ndarray, count: int) -> np.ndarray:
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[1 : count + 1] = [_color(label, count) for label in range(count)]
    colors[IGNORE] = 255
    return colors[mask]
