"""Reading and writing of the pictures of XL-Photo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from xlearner_mm.errors import ConfigError

SIDE = 64
"""Width and height of the pictures, in pixels."""

Crop = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a picture, in pixels."""


def open_picture(path: Path) -> Image.Image:
    """Read a picture of a repository.

    Raises:
        ConfigError: it is missing or unreadable.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError(f'{path}: not a readable picture ({error})') from None


def missing(path: Path) -> ConfigError:
    """Return the error of a file or folder that a repository lacks."""
    return ConfigError(f'{path}: missing, expected a complete clone of the repository')


def names_in(folder: Path) -> list[str]:
    """Return the names of the files and folders in a folder, sorted.

    Raises:
        ConfigError: the folder is missing.
    """
    if not folder.is_dir():
        raise missing(folder)
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def first(names: list[str], count: int, folder: Path) -> list[str]:
    """Return the first names of a folder.

    Raises:
        ConfigError: it holds fewer.
    """
    if len(names) < count:
        raise ConfigError(f'{folder}: {len(names)} files, expected at least {count}')
    return names[:count]


def save_photo(image: Image.Image, path: Path, crop: Crop | None = None, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    """Write a part of a picture as JPEG of quality 92, scaled bicubically.

    Args:
        image: the picture.
        path: where to; its folder is made when it is missing.
        crop: part of it. Defaults to None, all of it.
        size: width and height to scale to. Defaults to 64 x 64.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = image.convert('RGB') if crop is None else image.convert('RGB').crop(crop)
    # A picture of the right size is not resampled.
    (part if part.size == size else part.resize(size, Image.Resampling.BICUBIC)).save(path, 'JPEG', quality=92)


def save_map(values: np.ndarray, path: Path, crop: Crop) -> None:
    """Write a square part of a map of labels or depths as 64 x 64 PNG, scaled by nearest neighbor.

    Args:
        values: ``(H, W)`` uint8 or uint16.
        path: where to; its folder is made when it is missing.
        crop: part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).crop(crop).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)


def save_lines(lines: Iterable[str], path: Path) -> None:
    """Write lines of text; the folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))
