"""Conversions to COCO detection: Tiny-ImageNet's boxes, blood cells."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from xlearner_mm.errors import ConfigError
from xlearner_mm.photos.pictures import SIDE, Crop, first, missing, names_in, open_picture, save_photo

_BOXES = (7812, 985)  # images of `boxes` for training and validation


class _Box(NamedTuple):
    label: int
    x: float
    y: float
    width: float
    height: float


class _CocoSplit:
    """One split of a COCO data set that grows image by image."""

    def __init__(self, out: Path, split: str, classes: Sequence[str]) -> None:
        self.out, self.split, self.classes = out, split, classes
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, path: Path, boxes: Sequence[_Box], crop: Crop | None, size: tuple[int, int]) -> None:
        number = len(self.images)
        name = f'{number:06d}.jpg'
        save_photo(open_picture(path), self.out / self.split / name, crop, size)
        self.images.append({'id': number, 'file_name': name, 'width': size[0], 'height': size[1]})
        self.annotations += [
            {
                'id': len(self.annotations) + index,
                'image_id': number,
                'category_id': box.label + 1,
                'bbox': list(box[1:]),
                'area': box.width * box.height,
                'iscrowd': 0,
            }
            for index, box in enumerate(boxes)
        ]

    def write(self) -> None:
        categories = [{'id': number, 'name': name} for number, name in enumerate(self.classes, start=1)]
        content = {'images': self.images, 'annotations': self.annotations, 'categories': categories}
        path = self.out / 'annotations' / f'instances_{self.split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def convert_boxes(
    repository: Path,
    out: Path,
    classes: range = range(100, 120),
    train: range = range(400),
    val: range = range(450, 500),
) -> None:
    """Convert classes of Tiny-ImageNet-200 with the box of each image, in a seeded order.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        classes: numbers of the classes, by name. Defaults to 100 to 119.
        train: numbers of the images of each class for training. Defaults to 0 to 399.
        val: numbers for validation. Defaults to 450 to 499.
    """
    folder = repository / 'tiny-imagenet-200' / 'train'
    names = first(names_in(folder), classes.stop, folder)[classes.start :]
    boxes = {name: _tiny_boxes(folder / name / f'{name}_boxes.txt') for name in names}
    rng = random.Random(0)
    for split, numbers in (('train', train), ('val', val)):
        chosen = [
            (name, number)
            for name in names
            for number in numbers
            if _is_large(boxes[name].get(f'{name}_{number}.JPEG'))
        ]
        rng.shuffle(chosen)
        coco = _CocoSplit(out, split, names)
        for name, number in chosen:
            image = f'{name}_{number}.JPEG'
            x0, y0, x1, y1 = boxes[name][image]
            box = _Box(names.index(name), x0, y0, x1 - x0, y1 - y0)
            coco.add(folder / name / 'images' / image, [box], None, (SIDE, SIDE))
        coco.write()


def _tiny_boxes(path: Path) -> dict[str, tuple[float, float, float, float]]:
    """Return the box of each image as x0, y0, x1, y1, the latter two exclusive."""
    if not path.is_file():
        raise missing(path)
    boxes = {}
    for line in path.read_text().splitlines():
        try:
            image, *corners = line.split()
            x0, y0, x1, y1 = map(float, corners)
        except ValueError:
            raise ConfigError(f"{path}: line '{line}', expected an image and four numbers") from None
        boxes[image] = (x0, y0, x1 + 1, y1 + 1)  # the file's x1 and y1 belong to the box
    return boxes


def _is_large(box: tuple[float, float, float, float] | None) -> bool:
    return box is not None and box[2] - box[0] > 4 and box[3] - box[1] > 4


_CELLS = ('RBC', 'WBC', 'Platelets')
_QUARTERS = ((0, 0), (320, 0), (0, 240), (320, 240))  # left, top


def convert_cells(repository: Path, out: Path, train: int = 300) -> None:
    """Convert quarters of the pictures of blood cells; a box is kept where more than half of it is inside.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        train: pictures drawn for training; the others are for validation. Defaults to 300.
    """
    folder = repository / 'BCCD'
    names = names_in(folder / 'JPEGImages')
    first(names, train + 1, folder / 'JPEGImages')
    _cells_generator().shuffle(names)
    for split, chosen in (('train', names[:train]), ('val', names[train:])):
        coco = _CocoSplit(out, split, _CELLS)
        for name in chosen:
            cells = _read_cells(folder / 'Annotations' / f'{Path(name).stem}.xml')
            for left, top in _QUARTERS:
                boxes = [box for cell in cells if (box := _inside(cell, left, top)) is not None]
                if boxes:
                    coco.add(
                        folder / 'JPEGImages' / name, boxes, (left, top, left + 320, top + 240), (SIDE, SIDE * 3 // 4)
                    )
        coco.write()


def _cells_generator() -> random.Random:
    # `boxes` and `cells` were first drawn from one generator; drawing as many numbers before keeps that order.
    rng = random.Random(0)
    for images in _BOXES:
        rng.shuffle(list(range(images)))
    return rng


class _Cell(NamedTuple):
    label: int
    x0: int
    y0: int
    x1: int
    y1: int


def _read_cells(path: Path) -> list[_Cell]:
    try:
        objects = ElementTree.parse(path).iter('object')
        return [
            _Cell(
                _CELLS.index(node.findtext('name', '')),
                *(int(node.findtext(f'bndbox/{key}', '')) for key in ('xmin', 'ymin', 'xmax', 'ymax')),
            )
            for node in objects
        ]
    except FileNotFoundError:
        raise missing(path) from None
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(f'{path}: {error}; expected cells {_CELLS} with whole-numbered boxes') from None


def _inside(cell: _Cell, left: int, top: int) -> _Box | None:
    """Return the part of a cell in a quarter, scaled to a fifth, if it is more than half of the cell."""
    label, x0, y0, x1, y1 = cell
    inner_x0, inner_y0 = max(x0 - left, 0), max(y0 - top, 0)
    inner_x1, inner_y1 = min(x1 - left, 320), min(y1 - top, 240)
    width, height = inner_x1 - inner_x0, inner_y1 - inner_y0
    if width <= 0 or height <= 0 or width * height <= (x1 - x0) * (y1 - y0) / 2:
        return None
    scale = SIDE / 320
    corners = [value * scale for value in (inner_x0, inner_y0, inner_x1, inner_y1)]
    return _Box(label, corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1])
