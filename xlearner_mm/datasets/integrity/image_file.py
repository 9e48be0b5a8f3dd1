"""Bytes of an image file: read once, for its decoder and for what its pixels do not say."""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine import fileio
from PIL import Image

_JPEG, _END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'
_APP1, _SCAN = 0xE1, 0xDA
_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_BITS_PER_SAMPLE, _ORIENTATION = 258, 0x0112  # TIFF tags
_ROTATIONS = range(2, 9)


class _Read(threading.local):
    """File that :class:`SharingBackend` has read last in a thread, until it is inspected."""

    path: str | None = None
    content = b''


_read = _Read()


@fileio.register_backend('sharing')
class SharingBackend(fileio.BaseStorageBackend):
    """File backend of image loaders that shares each file with its inspection, so that it is read once.

    Args:
        backend_args: of the backend that reads. Defaults to None: by the file's prefix.
    """

    def __init__(self, backend_args: dict[str, Any] | None = None) -> None:
        self._backend_args, self._local = backend_args, fileio.LocalBackend()

    def get(self, filepath: str) -> bytes:
        """Read a file."""
        if self._backend_args is None and '://' not in str(filepath):
            content = self._local.get(filepath)
        else:
            content = fileio.get(filepath, backend_args=self._backend_args)
        _read.path, _read.content = filepath, content
        return content

    def get_text(self, filepath: str) -> str:
        """Read a text file."""
        return fileio.get_text(filepath, backend_args=self._backend_args)


def forget_file() -> None:
    """Drop the file that :class:`SharingBackend` has read last."""
    _read.path, _read.content = None, b''


def share_files(transforms: Iterable[Any]) -> None:
    """Let the stock loaders among a pipeline's transforms read through :class:`SharingBackend`."""
    for transform in transforms:
        stock = type(transform).__module__.split('.')[0] in ('mmcv', 'mmdet', 'mmpretrain', 'mmseg')
        if stock and isinstance(transform, (LoadImageFromFile, LoadAnnotations)):
            inner = transform.backend_args
            if (inner or {}).get('backend') != 'sharing':
                transform.backend_args = {'backend': 'sharing', **({'backend_args': inner} if inner else {})}


class ImageFile:
    """Bytes of an image file.

    Args:
        content: the whole file.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    @classmethod
    def open(cls, path: str, backend_args: Mapping[str, Any] | None = None) -> ImageFile:
        """Take what a loader has read through :class:`SharingBackend`, or else read the file."""
        content = _read.content if _read.path == path else fileio.get(path, backend_args=backend_args)
        forget_file()
        return cls(content)

    @property
    def lacks_its_end(self) -> bool:
        """True for a truncated JPEG, which OpenCV fills with gray or refuses, depending on its version."""
        if not self.content.startswith(_JPEG) or self.content.endswith(_END_OF_JPEG):
            return False
        # In a scan's data, FF D9 is always the end; before it, a thumbnail may have an end of its own.
        return self.content.find(_END_OF_JPEG, _start_of_scan(self.content)) < 0

    def orientation(self, backend: str = 'cv2') -> int:
        """Return the EXIF orientation that a backend of mmcv applies, 2 to 8, or 1 for the picture as stored.

        Any other number in the file means 1. OpenCV obeys JPEG, PNG and TIFF, and reads only the first of a JPEG's
        APP1 segments, whatever it holds.

        Args:
            backend: ``'cv2'`` or ``'pillow'``; others rotate nothing. Defaults to ``'cv2'``.
        """
        if backend == 'pillow':
            with Image.open(io.BytesIO(self.content)) as image:
                found = image.getexif().get(_ORIENTATION)
        else:
            found = _tiff_orientation(self._exif()) if backend == 'cv2' else None
        return found if isinstance(found, int) and found in _ROTATIONS else 1

    def _exif(self) -> bytes:
        """The EXIF data that OpenCV reads, a TIFF directory; empty without any."""
        if self.content.startswith(_TIFF):
            return self.content
        if self.content.startswith(_PNG):
            return next((part for kind, part in _png_chunks(self.content) if kind == b'eXIf'), b'')
        if self.content.startswith(_JPEG):
            for marker, start, end in _segments(self.content):
                if marker == _APP1 and end <= len(self.content):
                    return self.content[start + len(b'Exif\0\0') : end]
        return b''

    @property
    def bits(self) -> int:
        """Bits per channel of a PNG or TIFF; 8 for other formats."""
        if self.content.startswith(_PNG):
            return max([8, *self.content[24:25]])
        return _tiff_bits(self.content) if self.content.startswith(_TIFF) else 8


def png_damage(content: bytes) -> str | None:
    """Return the fault in a PNG's bytes, or None, as for other formats: Pillow ignores checksums in label maps."""
    if not content.startswith(_PNG):
        return None
    position, kind, view = len(_PNG), b'', memoryview(content)
    while kind != b'IEND':
        length = int.from_bytes(content[position : position + 4], 'big')
        kind, end = content[position + 4 : position + 8], position + 8 + length
        if end + 4 > len(content):
            return 'is truncated'
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(content[end : end + 4], 'big'):
            return f'is damaged: the checksum of its chunk {kind!r} is wrong'
        position = end + 4
    return None


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of a PNG's chunks."""
    position = len(_PNG)
    while position + 8 <= len(content):
        start, length = position + 8, int.from_bytes(content[position : position + 4], 'big')
        yield content[position + 4 : start], content[start : start + length]
        position = start + length + 4


def _tiff_bits(content: bytes) -> int:
    """Return the bits per channel of a TIFF's first image, some of which Pillow cannot open."""
    entry = _tiff_entry(content, _BITS_PER_SAMPLE)
    if entry is None:
        return 8
    # An entry holds up to two numbers itself, or the position of more.
    several = _number(content, entry + 4, 4) > 2
    return max(8, _number(content, _number(content, entry + 8, 4) if several else entry + 8, 2))


def _tiff_orientation(content: bytes) -> int | None:
    """Return the number that OpenCV takes for the orientation, whatever the type of its entry."""
    entry = _tiff_entry(content, _ORIENTATION)
    return None if entry is None else _number(content, entry + 8, 2)


def _tiff_entry(content: bytes, tag: int) -> int | None:
    """Return the position of a tag's entry in a TIFF's first directory."""
    if not content.startswith(_TIFF):
        return None
    directory = _number(content, 4, 4)
    entries = range(directory + 2, len(content) - 11, 12)[: _number(content, directory, 2)]
    return next((entry for entry in entries if _number(content, entry, 2) == tag), None)


def _number(content: bytes, position: int, size: int) -> int:
    """Read a number of a TIFF in its byte order."""
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
    """Return the position of a JPEG's first scan data, or the length of a file without any."""
    return next((end for marker, _, end in _segments(content) if marker == _SCAN), len(content))
