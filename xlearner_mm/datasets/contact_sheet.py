"""A contact sheet: a row of labelled pictures of every source."""

from __future__ import annotations

import colorsys
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from xlearner_mm.datasets.categories import classes_of
from xlearner_mm.datasets.check import SplitReport
from xlearner_mm.datasets.spread import spread

_COLUMNS = 8
_TILE = 160  # side of a picture's place, in pixels
_TEXT = 14  # height of a line of text, in pixels
_IGNORED = 255


def save_contact_sheet(path: str | Path, reports: Sequence[SplitReport]) -> None:
    """Draw some pictures of every source, with class names, boxes or label maps over them.

    Args:
        path: the PNG to write; its folder is made when it is missing.
        reports: one per source; those without readable pictures get an empty row.
    """
    height = _TILE + 2 * _TEXT
    sheet = Image.new('RGB', (_COLUMNS * _TILE, height * len(reports)), 'white')
    for row, report in enumerate(reports):
        top = row * height
        ImageDraw.Draw(sheet).text((2, top), f'{report.source}: {report.images:,} images', fill='black')
        for column, place in enumerate(spread(len(report.checked), _COLUMNS)):
            tile = _tile(report, report.info(report.checked[place]))
            if tile is not None:
                sheet.paste(tile, (column * _TILE, top + _TEXT))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _tile(report: SplitReport, info: Mapping[str, Any]) -> Image.Image | None:
    """Return a picture with what is known of it, or None if it cannot be read."""
    try:
        return _drawn(classes_of(report.dataset), info)
    except Exception:  # whatever a decoder raises; what is wrong with the picture is among the problems
        return None


def _drawn(classes: Sequence[str], info: Mapping[str, Any]) -> Image.Image | None:
    if not all(osp.isfile(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)):
        return None  # reading a pipe would never end
    with Image.open(info['img_path']) as file:
        image = file.convert('RGB')
    if info.get('seg_map_path'):
        with Image.open(info['seg_map_path']) as file:
            image = _overlaid(image, np.array(file))
    scale = min((_TILE - 4) / image.width, (_TILE - 4) / image.height)
    image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    boxes = info.get('instances') or []
    pen = ImageDraw.Draw(image)
    for box in boxes:
        pen.rectangle([scale * v for v in box['bbox']], outline=_color(box['bbox_label']), width=2)
    tile = Image.new('RGB', (_TILE, _TILE + _TEXT), 'white')
    tile.paste(image, (2, 2))
    labels = np.ravel(info['gt_label']).tolist() if 'gt_label' in info else sorted({box['bbox_label'] for box in boxes})
    names = ', '.join(str(classes[i]) if i < len(classes) else f'class {i}' for i in labels)
    ImageDraw.Draw(tile).text((2, image.height + 3), names[:26], fill='black')
    return tile


def _overlaid(image: Image.Image, labels: np.ndarray) -> Image.Image:
    colors = np.array([_color(i) for i in range(256)], dtype=np.uint8)
    colors[_IGNORED] = 255
    overlay = Image.fromarray(colors[labels.astype(np.uint8)]).resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, overlay, 0.5)


def _color(label: int) -> tuple[int, int, int]:
    # The golden ratio takes neighbouring labels to far hues.
    r, g, b = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.9, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)
