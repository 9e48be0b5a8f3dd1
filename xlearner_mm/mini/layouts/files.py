"""Saving of single pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def save_photo(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture as JPEG, or as PNG if the name says so.

    Args:
        path: Where to; its folder is made when it is missing.
        image: ``(H, W, 3)`` uint8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.png':
        Image.fromarray(image).save(path, compress_level=1)
    else:
        Image.fromarray(image).save(path, quality=92)


def save_map(path: Path, values: np.ndarray, palette: list[int] | None = None) -> None:
    """Write a map of labels or depths as PNG.

    Args:
        path: Where to; its folder is made when it is missing.
        values: ``(H, W)`` uint8 or uint16.
        palette: Colours of the values of a uint8 map, as RGB triples in one list. Default: None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def save_lines(path: Path, lines: list[str]) -> None:
    """Write lines of text; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))
