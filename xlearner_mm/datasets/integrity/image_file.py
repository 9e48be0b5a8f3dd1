"""What can be wrong with a picture's file though OpenCV or Pillow reads it."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine import fileio
from PIL import Image

_HEAD = 4096  # bytes that hold the headers and nearly always the EXIF data
_END_OF_JPEG = b'\xff\xd9'
_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_BITS_PER_SAMPLE = 258
_ORIENTATION = 0x0112
_TURNED = range(2, 9)
_JPEG = b'\xff\xd8'
_APP1, _SCAN = 0xE1, 0xDA


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
        if not self.head.startswith(_JPEG) or self.tail == _END_OF_JPEG:
            return False
        content = self.content()
        # In a scan's data, FF D9 is the end and nothing else; before it, a thumbnail may have an end of its own.
        return _END_OF_JPEG not in content[_start_of_scan(content) :]

    def orientation(self, backend: str = 'cv2') -> int:
        """Return how a backend of mmcv turns or mirrors the picture for its EXIF data, 2 to 8; 1 is as it is stored.

        Any other number, which cameras and tools do write, stands for 1. OpenCV obeys JPEG, PNG and TIFF; of several
        APP1 segments of a JPEG, it looks at the first, whatever that holds.

        Args:
            backend: ``'cv2'`` or ``'pillow'``; others turn nothing. Defaults to ``'cv2'``.
        """
        if backend == 'pillow':
            with Image.open(io.BytesIO(self.content())) as image:
                found = image.getexif().get(_ORIENTATION)
        else:
            found = _tiff_orientation(self._exif()) if backend == 'cv2' else None
        return found if isinstance(found, int) and found in _TURNED else 1

    def _exif(self) -> bytes:
        """The EXIF data that OpenCV looks at: a directory in TIFF's form; empty where there are none."""
        if self.head.startswith(_TIFF):
            return self.content()
        if self.head.startswith(_PNG):
            return next((part for kind, part in _png_parts(self.content()) if kind == b'eXIf'), b'')
        if self.head.startswith(_JPEG):
            for content in (lambda: self.head, self.content):  # nearly always in the head
                read = content()
                for marker, start, end in _segments(read):
                    if marker == _SCAN:
                        return b''
                    if marker == _APP1 and end <= len(read):
                        return read[start + len(b'Exif\0\0') : end]
        return b''

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


def _png_parts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of a PNG's parts."""
    position = len(_PNG)
    while position + 8 <= len(content):
        start, length = position + 8, int.from_bytes(content[position : position + 4], 'big')
        yield content[position + 4 : start], content[start : start + length]
        position = start + length + 4


def _tiff_bits(content: bytes) -> int:
    """Return the bits of a channel of a TIFF's first picture, 8 where it does not say. Pillow opens not all of them."""
    entry = _tiff_entry(content, _BITS_PER_SAMPLE)
    if entry is None:
        return 8
    # Up to two numbers stand in the entry itself, of more than that their place.
    several = _number(content, entry + 4, 4) > 2
    return max(8, _number(content, _number(content, entry + 8, 4) if several else entry + 8, 2))


def _tiff_orientation(content: bytes) -> int | None:
    """Return the number that OpenCV takes for the orientation, of whatever type its entry is."""
    entry = _tiff_entry(content, _ORIENTATION)
    return None if entry is None else _number(content, entry + 8, 2)


def _tiff_entry(content: bytes, tag: int) -> int | None:
    """Return where the entry of a tag begins in a TIFF's first directory."""
    if not content.startswith(_TIFF):
        return None
    directory = _number(content, 4, 4)
    entries = range(directory + 2, len(content) - 11, 12)[: _number(content, directory, 2)]
    return next((entry for entry in entries if _number(content, entry, 2) == tag), None)


def _number(content: bytes, position: int, size: int) -> int:
    """Read a number of a TIFF, in the order of bytes that it has."""
    return int.from_bytes(content[position : position + size], 'little' if content.startswith(b'II') else 'big')


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of a JPEG's segments up to its first scan; the last may end beyond the content."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, start = content[position + 1], position + 4
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : start], 'big')
        yield marker, start, position
        if marker == _SCAN:
            return


def _start_of_scan(content: bytes) -> int:
    """Return where the data of a JPEG's first scan begin, or the end of the file if they never do."""
    return next((end for marker, _, end in _segments(content) if marker == _SCAN), len(content))
