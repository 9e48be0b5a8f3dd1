"""One image on its way through a pipeline: is it what its annotations say?"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mmcv.image.io
import numpy as np
from PIL import Image

from xlearner_mm.datasets.integrity.boxes import faulty_boxes
from xlearner_mm.datasets.integrity.image_file import ImageFile, png_damage
from xlearner_mm.errors import one_line

_NARROW = 16  # 16-bit values all below 4096 are 12 bits or fewer: the upper 8 bits of them are below this
_DEEP = 16
_TURNED = 5  # EXIF orientations from here on swap height and width
_AS_STORED = 'color_ignore_orientation'


class Mismatch(ValueError):
    """What is wrong with an image or its labels; the message goes on from the file's name."""


class Damage(Mismatch):
    """What is wrong with the bytes of one file: no setting is the cause."""


@dataclass(frozen=True)
class Expected:
    """What holds for all images of a source.

    Args:
        classes: number of classes that labels may be of; None does not look at labels.
        ignore_index: the value of a label map's pixels that have no class. Defaults to 255.
    """

    classes: int | None
    ignore_index: int = 255


class Inspection:
    """Look at what each transform of a pipeline has loaded, once, before others change it.

    Args:
        expected: what holds for all images of the source.
        info: the image's annotations, as its dataset gives them.

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
        self._pending = {
            'img': self._look_at_image,
            'gt_bboxes': self._look_at_boxes,
            'gt_seg_map': self._look_at_map,
            'gt_depth_map': self._look_at_depths,
        }
        if 'gt_label' in info:
            self._look_at_labels(np.atleast_1d(np.asarray(info['gt_label'])))

    @property
    def has_image(self) -> bool:
        """Whether the image has been loaded."""
        return 'img' not in self._pending

    @contextmanager
    def naming_maps(self) -> Iterator[None]:
        """Within it, an error between the image's loading and its label or depth map's names the map too."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # whatever a stock transform raises
            path = next((path for key, path in self._maps.items() if path and key in self._pending), None)
            if path is None or not self.has_image:
                raise
            raise Mismatch(f'cannot be used with its map {path}: {one_line(error)}') from error

    def after(self, transform: Any, data: Mapping[str, Any]) -> None:
        """Look at what is new in ``data`` after a transform."""
        for key in [key for key in self._pending if key in data]:
            self._pending.pop(key)(transform, data)

    def _look_at_image(self, transform: Any, data: Mapping[str, Any]) -> None:
        image = data['img']
        if isinstance(image, np.ndarray) and image.size == 0:
            raise Damage(f'has no pixels: it is of {image.shape}')
        self._size = tuple(data.get('ori_shape', np.shape(image)[:2]))  # type: ignore[assignment]
        if isinstance(self._path, str):
            self._file = ImageFile.open(self._path, getattr(transform, 'backend_args', None))
            self._backend = getattr(transform, 'imdecode_backend', None) or mmcv.image.io.imread_backend
            self._obeys_orientation = not str(getattr(transform, 'color_type', '')).endswith('ignore_orientation')
            self._look_at_file(self._file, image)
        if all(isinstance(side, int) and side > 0 for side in self._annotated) and self._annotated != self._size:
            height, width = self._annotated
            turned = ''
            if self._orientation() >= _TURNED:
                turned = (
                    f'; it was turned by its EXIF orientation: LoadImageFromFile(color_type="{_AS_STORED}") does not'
                )
            raise Mismatch(
                f'is of {self._size[1]} x {self._size[0]} pixels, but annotated as {width} x {height}{turned}'
            )

    def _look_at_file(self, file: ImageFile, image: np.ndarray) -> None:
        if file.lacks_its_end:
            raise Damage('is truncated: it has no end')
        if file.bits > _DEEP:
            raise Mismatch(f'has {file.bits} bits a channel, which no loader of pictures reads as colours')
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
        """Refuse a picture that is turned on loading while nothing tells whether its labels are."""
        orientation = self._orientation()
        if orientation == 1 or (confirmed and orientation >= _TURNED and self._size[0] != self._size[1]):
            return
        raise Mismatch(
            f'has EXIF orientation {orientation}, and its size does not tell whether its labels are of the picture as '
            f'shown or as stored: store it as shown, or use LoadImageFromFile(color_type="{_AS_STORED}")'
        )

    def _look_at_labels(self, labels: np.ndarray) -> None:
        classes = self._expected.classes
        if classes is None or labels.size == 0 or labels.dtype.kind not in 'iu':
            return
        low, high = labels.min(), labels.max()
        if low < 0 or high >= classes:
            raise Mismatch(f'has label {low if low < 0 else high}, but there are {classes} classes, from 0')

    def _look_at_boxes(self, transform: Any, data: Mapping[str, Any]) -> None:
        self._check_orientation(confirmed=all(self._annotated))
        boxes = np.asarray(getattr(data['gt_bboxes'], 'tensor', data['gt_bboxes']))
        ignored = np.asarray(data.get('gt_ignore_flags', np.zeros(len(boxes), bool)), bool)
        labels = data.get('gt_bboxes_labels')
        if labels is not None:
            self._look_at_labels(np.asarray(labels)[~ignored])
        # Other forms than (x1, y1, x2, y2) are not ours to judge.
        if boxes.ndim == 2 and boxes.shape[1] == 4 and not ignored.all():
            for fault in faulty_boxes(boxes[~ignored], *self._size).values():
                raise Mismatch(fault)

    def _look_at_map(self, transform: Any, data: Mapping[str, Any]) -> None:
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

    def _look_at_depths(self, transform: Any, data: Mapping[str, Any]) -> None:
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
        damage = 'is truncated' if file.lacks_its_end else png_damage(file.content())
        if damage is not None:
            raise Damage(f'cannot be used: its {where} {damage}')
        if file.bits > 8:
            labels = np.asarray(Image.open(io.BytesIO(file.content())))
            if labels.max() > 255 or np.any(labels % 1):
                raise Mismatch(
                    f'cannot be used: its {where} has labels above 255 or between whole numbers, of which mmseg keeps '
                    'the lower 8 bits'
                )
