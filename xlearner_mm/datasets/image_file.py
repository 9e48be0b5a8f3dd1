"""What can be wrong with a picture's file though OpenCV or Pillow reads it."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmengine import fileio
from PIL import Image

_HEAD = 4096  # bytes that hold the headers and nearly always the EXIF data
_END_OF_JPEG = b'\xff\xd9'
_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_BITS_PER_SAMPLE = 258
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageFile:
    """First and last bytes of a file.

    Args:
        path: the file.
        head: its first 4 KiB.
        tail: its last two bytes.
        backend_args: of MMEngine's file backend; None for local files.
    """

    path: str
    head: bytes
    tail: bytes
    backend_args: Mapping[str, Any] | None = None

    @classmethod
    def open(cls, path: str, backend_args: Mapping[str, Any] | None = None) -> ImageFile:
        """Look at a file; one of another file backend is read whole."""
        if backend_args is not None or '://' in path:
            content = fileio.get(path, backend_args=backend_args)
            return cls(path, content[:_HEAD], content[-2:], backend_args)
        with open(path, 'rb', buffering=0) as file:
            head = file.read(_HEAD)
            file.seek(-min(2, len(head)), os.SEEK_END)
            return cls(path, head, file.read())

    def content(self) -> bytes:
        """Read all of it."""
        return fileio.get(self.path, backend_args=self.backend_args)

    @property
    def lacks_its_end(self) -> bool:
        """Whether a part of a JPEG is missing: OpenCV fills it with grey or refuses it, depending on its version."""
        if not self.head.startswith(b'\xff\xd8') or self.tail == _END_OF_JPEG:
            return False
        content = self.content()
        # In a scan's data, FF D9 is the end and nothing else; before it, a thumbnail may have an end of its own.
        return _END_OF_JPEG not in content[_start_of_scan(content) :]

    @property
    def orientation(self) -> int:
        """How the EXIF data say that the picture is turned or mirrored, 2 to 8; 1 is as it is stored.

        OpenCV obeys them in JPEG, PNG and TIFF. WebP's, which it does not obey, are not looked at.
        """
        is_tiff = self.head[:2] in (b'II', b'MM')
        if not (is_tiff or b'Exif\0\0' in self.head or b'eXIf' in self.head):
            return 1
        with Image.open(io.BytesIO(self.content())) as image:
            return int(image.getexif().get(_ORIENTATION, 1))

    @property
    def bits(self) -> int:
        """Bits of a channel, of PNG and TIFF; of other forms 8."""
        if self.head.startswith(_PNG):
            return max([8, *self.head[24:25]])
        return _tiff_bits(self.content()) if self.head.startswith(_TIFF) else 8


def png_damage(content: bytes) -> str | None:
    """Return what is wrong with a PNG's bytes, or None. Pillow, which reads label maps, looks at no checksum.

    Args:
        content: any file; those that are no PNG are not looked at.
    """
    if not content.startswith(_PNG):
        return None
    position, kind = len(_PNG), b''
    while kind != b'IEND':
        length = int.from_bytes(content[position : position + 4], 'big')
        kind, end = content[position + 4 : position + 8], position + 8 + length
        if end + 4 > len(content):
            return 'is truncated'
        if zlib.crc32(content[position + 4 : end]) != int.from_bytes(content[end : end + 4], 'big'):
            return f'is damaged: the checksum of its part {kind!r} is wrong'
        position = end + 4
    return None


def _tiff_bits(content: bytes) -> int:
    """Return the bits of a channel of a TIFF's first picture, 8 where it does not say. Pillow opens not all of them."""
    order: Literal['little', 'big'] = 'little' if content.startswith(b'II') else 'big'

    def number(position: int, size: int) -> int:
        return int.from_bytes(content[position : position + size], order)

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if number(entry, 2) == _BITS_PER_SAMPLE:
            # Up to two numbers stand in the entry itself, of more than that their place.
            return max(8, number(number(entry + 8, 4) if number(entry + 4, 4) > 2 else entry + 8, 2))
    return 8


def _start_of_scan(content: bytes) -> int:
    """Return where the data of a JPEG's first scan begin, or the end of the file if they never do."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], 'big')
        if marker == 0xDA:
            return position
    return len(content)
