"""Checks of one image: its file, and the loaded image against its annotations."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mmcv.image.io
import numpy as np
from PIL import Image

from xlearner_mm.datasets.integrity.image_file import ImageFile, forget_file, png_damage
from xlearner_mm.errors import one_line

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
        forget_file()
        label = info.get('gt_label')
        # Nearly always one number, which NumPy would take longer for.
        if label is not None and not (type(label) is int and 0 <= label < (expected.classes or 0)):
            self._check_labels(np.atleast_1d(np.asarray(label)))

    @property
    def has_image(self) -> bool:
        """True once the image has been loaded."""
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
        self._size = tuple(data['ori_shape'] if 'ori_shape' in data else np.shape(image)[:2])  # type: ignore[assignment]
        if isinstance(self._path, str):
            self._file = ImageFile.open(self._path, getattr(transform, 'backend_args', None))
            self._backend = getattr(transform, 'imdecode_backend', None) or mmcv.image.io.imread_backend
            self._obeys_orientation = not str(getattr(transform, 'color_type', '')).endswith('ignore_orientation')
            self._check_file(self._file, image)
        height, width = self._annotated
        annotated = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
        if annotated and self._annotated != self._size:
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
        bits = file.bits
        if bits > _DEEP:
            raise Mismatch(f'has {bits} bits a channel, which no image loader reads as colors')
        if bits == _DEEP:
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
