"""Pictures opened one by one with Pillow: their sizes, or the reason why they cannot be read."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from xlearner_mm.errors import one_line

_MOST_PIXELS = 2**30
_ORIENTATION = 0x0112  # EXIF tag
_SWAPS_SIDES = range(5, 9)


@contextmanager
def unlimited_pictures() -> Iterator[None]:
    """Let Pillow open what OpenCV reads, within: it refuses, or warns of, large pictures."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def open_picture(path: str, decode: bool = True, as_shown: bool = False) -> tuple[tuple[int, int] | None, str | None]:
    """Return a picture's width and height, or the reason why it cannot be read.

    Args:
        path: of the file.
        decode: read all of it, so that damage is found, and not its header alone. Defaults to True.
        as_shown: the size after its EXIF orientation, as OpenCV loads it, in place of the stored one. Defaults to
            False.
    """
    length = ''
    try:
        if osp.exists(path):
            if not osp.isfile(path):  # reading a pipe would never end
                return None, 'is no file, but a folder, a pipe or a device'
            length = f' ({osp.getsize(path):,} bytes)'
        # OpenCV, which the pipelines read with, fills up what a truncated file lacks and says nothing.
        with Image.open(path) as image:
            size = image.size
            if size[0] * size[1] > _MOST_PIXELS:
                return None, f'is of {size[0]} x {size[1]} pixels, more than OpenCV reads ({_MOST_PIXELS:,})'
            if decode:
                image.load()
            rotated = as_shown and image.getexif().get(_ORIENTATION) in _SWAPS_SIDES
            return (size[::-1] if rotated else size), None
    except FileNotFoundError:
        return None, f'is a link to {os.readlink(path)}, which does not exist' if osp.islink(path) else 'does not exist'
    except Exception as error:  # whatever a decoder raises on foreign bytes
        return None, f'cannot be read{length}: {one_line(error)}'
