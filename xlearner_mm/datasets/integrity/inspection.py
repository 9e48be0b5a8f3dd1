"""Checks of one image: its file, and the loaded picture against its annotations."""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mmcv.image.io
import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine import fileio
from PIL import Image

from xlearner_mm.errors import one_line

_JPEG, _END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'
_APP1, _SCAN = 0xE1, 0xDA
_PNG = b'\x89PNG\r\n\x1a\n'
_TIFF = (b'II*\0', b'MM\0*')
_BITS_PER_SAMPLE, _ORIENTATION = 258, 0x0112  # TIFF tags
_ROTATIONS = range(2, 9)
_SWAPS_SIDES = 5  # EXIF orientations from here on swap height and width
_NARROW = 16  # 16-bit values all below 4096 are 12 bits or fewer: their upper 8 bits are below this
_DEEP = 16
_AS_STORED = 'color_ignore_orientation'
_CHECKS = {
    'img': '_check_image',
    'gt_bboxes': '_check_boxes',
    'gt_seg_map': '_check_label_map',
    'gt_depth_map': '_check_depth_map',
}


class Mismatch(ValueError):
    """A fault of an image or its labels; the message continues the file's name."""


class Damage(Mismatch):
    """A fault in the bytes of one file, which no setting can cause."""


@dataclass(frozen=True)
class Expected:
    """Limits of a source's labels.

    Args:
        classes: number of classes; None does not check labels.
        ignore_index: value of a label map's pixels without a class. Defaults to 255.
    """

    classes: int | None
    ignore_index: int = 255


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


def share_files(transforms: Iterable[Any]) -> None:
    """Let the stock loaders among a pipeline's transforms read through :class:`SharingBackend`."""
    for transform in transforms:
        stock = type(transform).__module__.split('.')[0] in ('mmcv', 'mmdet', 'mmpretrain', 'mmseg')
        if stock and isinstance(transform, (LoadImageFromFile, LoadAnnotations)):
            inner = transform.backend_args
            if (inner or {}).get('backend') != 'sharing':
                transform.backend_args = {'backend': 'sharing', **({'backend_args': inner} if inner else {})}


class Inspection:
    """Check what each transform of a pipeline has loaded, once, before later ones change it.

    Args:
        expected: limits of the source's labels.
        info: annotations of the image, as its dataset returns them.

    Raises:
        Mismatch: by any method.
    """

    def __init__(self, expected: Expected, info: Mapping[str, Any]) -> None:
        self._expected = expected
        self._path = info.get('img_path')
        self._annotated = info.get('height'), info.get('width')
        self._maps = {'gt_seg_map': info.get('seg_map_path'), 'gt_depth_map': info.get('depth_map_path')}
        self._file: ImageFile | None = None
        self._backend = 'cv2'
        self._obeys_orientation = True
        self._size: tuple[int, int] = (0, 0)
        self._pending = dict(_CHECKS)
        _read.path = None
        label = info.get('gt_label')
        # Nearly always one number, which NumPy would take longer for.
        if label is not None and not (type(label) is int and 0 <= label < (expected.classes or 0)):
            self._check_labels(np.atleast_1d(np.asarray(label)))

    @property
    def has_image(self) -> bool:
        """Whether the image has been loaded."""
        return 'img' not in self._pending

    def named(self, error: Exception) -> Exception:
        """Add the name of the label or depth map to an error between the loading of the image and of the map."""
        path = next((path for key, path in self._maps.items() if path and key in self._pending), None)
        if path is None or not self.has_image:
            return error
        named = Mismatch(f'cannot be used with its map {path}: {one_line(error)}')
        named.__cause__ = error
        return named

    def after(self, transform: Any, data: Mapping[str, Any]) -> None:
        """Check what is new in ``data`` after a transform."""
        for key in [key for key in self._pending if key in data]:
            getattr(self, self._pending.pop(key))(transform, data)

    def _check_image(self, transform: Any, data: Mapping[str, Any]) -> None:
        image = data['img']
        if isinstance(image, np.ndarray) and image.size == 0:
            raise Damage(f'has no pixels: its shape is {image.shape}')
        self._size = tuple(data.get('ori_shape', np.shape(image)[:2]))  # type: ignore[assignment]
        if isinstance(self._path, str):
            self._file = ImageFile.open(self._path, getattr(transform, 'backend_args', None))
            self._backend = getattr(transform, 'imdecode_backend', None) or mmcv.image.io.imread_backend
            self._obeys_orientation = not str(getattr(transform, 'color_type', '')).endswith('ignore_orientation')
            self._check_file(self._file, image)
        if all(isinstance(side, int) and side > 0 for side in self._annotated) and self._annotated != self._size:
            height, width = self._annotated
            rotated = (
                f'; it was rotated by its EXIF orientation: LoadImageFromFile(color_type="{_AS_STORED}") does not'
                if self._orientation() >= _SWAPS_SIDES
                else ''
            )
            raise Mismatch(
                f'is of {self._size[1]} x {self._size[0]} pixels, but annotated as {width} x {height}{rotated}'
            )

    def _check_file(self, file: ImageFile, image: np.ndarray) -> None:
        if file.lacks_its_end:
            raise Damage('is truncated: it has no end')
        if file.bits > _DEEP:
            raise Mismatch(f'has {file.bits} bits a channel, which no image loader reads as colors')
        if file.bits == _DEEP:
            if self._backend == 'pillow':
                raise Mismatch('has 16 bits a channel, which Pillow clips to 255: decode it with cv2')
            if image.max() < _NARROW:
                raise Mismatch('has 16 bits a channel, but uses 12 or fewer: only the upper 8 are read, near black')

    def _orientation(self) -> int:
        if self._file is None or not self._obeys_orientation:
            return 1
        return self._file.orientation(self._backend)

    def _check_orientation(self, confirmed: bool) -> None:
        """Refuse an image that is rotated on loading while its labels may not be; ``confirmed`` by the annotations."""
        orientation = self._orientation()
        if orientation == 1 or (confirmed and orientation >= _SWAPS_SIDES and self._size[0] != self._size[1]):
            return
        raise Mismatch(
            f'has EXIF orientation {orientation}, and its size does not tell whether its labels belong to the picture '
            f'as shown or as stored: store it as shown, or use LoadImageFromFile(color_type="{_AS_STORED}")'
        )

    def _check_labels(self, labels: np.ndarray) -> None:
        classes = self._expected.classes
        if classes is None or labels.size == 0 or labels.dtype.kind not in 'iu':
            return
        low, high = labels.min(), labels.max()
        if low < 0 or high >= classes:
            raise Mismatch(f'has label {low if low < 0 else high}, but there are {classes} classes, from 0')

    def _check_boxes(self, transform: Any, data: Mapping[str, Any]) -> None:
        self._check_orientation(confirmed=all(self._annotated))
        boxes = np.asarray(getattr(data['gt_bboxes'], 'tensor', data['gt_bboxes']))
        ignored = np.asarray(data.get('gt_ignore_flags', np.zeros(len(boxes), bool)), bool)
        labels = data.get('gt_bboxes_labels')
        if labels is not None:
            self._check_labels(np.asarray(labels)[~ignored])
        # Other forms than (x1, y1, x2, y2) are not checked.
        if boxes.ndim == 2 and boxes.shape[1] == 4 and not ignored.all():
            for fault in faulty_boxes(boxes[~ignored], *self._size).values():
                raise Mismatch(fault)

    def _check_label_map(self, transform: Any, data: Mapping[str, Any]) -> None:
        labels = data['gt_seg_map']
        where = f'label map {self._maps["gt_seg_map"]}'
        self._check_size(labels, where)
        self._check_orientation(confirmed=True)
        self._check_map_file(where, getattr(transform, 'backend_args', None))
        classes, ignore = self._expected.classes, self._expected.ignore_index
        if classes is None or labels.max() < classes:
            return
        if np.any(wrong := (labels >= classes) & (labels != ignore)):
            found = labels[wrong].max()
            raise Mismatch(f'has label {found} in its {where}, but there are {classes} classes, and {ignore} for none')

    def _check_depth_map(self, transform: Any, data: Mapping[str, Any]) -> None:
        self._check_size(data['gt_depth_map'], f'depth map {data.get("depth_map_path")}')
        self._check_orientation(confirmed=True)

    def _check_size(self, labels: np.ndarray, where: str) -> None:
        if np.shape(labels) != tuple(self._size):
            raise Mismatch(f'is of (H, W) = {tuple(self._size)}, but its {where} of {np.shape(labels)}')

    def _check_map_file(self, where: str, backend_args: Mapping[str, Any] | None) -> None:
        path = self._maps['gt_seg_map']
        if not isinstance(path, str):
            return
        file = ImageFile.open(path, backend_args)
        damage = 'is truncated' if file.lacks_its_end else png_damage(file.content)
        if damage is not None:
            raise Damage(f'cannot be used: its {where} {damage}')
        if file.bits > 8:
            labels = np.asarray(Image.open(io.BytesIO(file.content)))
            if labels.max() > 255 or np.any(labels % 1):
                raise Mismatch(
                    f'cannot be used: its {where} has labels above 255 or between whole numbers, of which mmseg keeps '
                    'the lower 8 bits'
                )


def faulty_boxes(boxes: np.ndarray, height: int, width: int) -> dict[int, str]:
    """Return index -> fault of the boxes that cannot be objects of an image.

    Boxes partly outside are accepted: mmdet's ``Resize`` clips them, and datasets of whole persons have them.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    x1, y1, x2, y2 = boxes.T
    faults = {
        'with a non-finite coordinate': ~np.isfinite(boxes).all(axis=1),
        'of no area': (x2 <= x1) | (y2 <= y1),
        'outside of the picture': (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height),
        'far larger than the picture': (x1 < -width) | (y1 < -height) | (x2 > 2 * width) | (y2 > 2 * height),
    }
    found: dict[int, str] = {}
    for fault, wrong in faults.items():
        for index in np.flatnonzero(wrong).tolist():
            box = ', '.join(f'{value:g}' for value in boxes[index])
            found.setdefault(index, f'has a box {fault}: ({box}) in {width} x {height} pixels')
    return found


@dataclass(frozen=True)
class ImageFile:
    """Bytes of an image file."""

    content: bytes

    @classmethod
    def open(cls, path: str, backend_args: Mapping[str, Any] | None = None) -> ImageFile:
        """Take what a loader has read through :class:`SharingBackend`, or else read the file."""
        if _read.path != path:
            return cls(fileio.get(path, backend_args=backend_args))
        file = cls(_read.content)
        _read.path, _read.content = None, b''
        return file

    @property
    def lacks_its_end(self) -> bool:
        """Whether a part of a JPEG is missing, which OpenCV fills with gray or refuses, depending on its version."""
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
