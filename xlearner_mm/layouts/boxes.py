"""One form of the boxes of COCO, VOC and YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Annotated:
    """An image with its boxes.

    Args:
        image: path within the folder.
        size: width and height in pixels.
        boxes: ``(N, 4)`` as x, y, width, height in pixels.
        names: ``N`` class names.
        ignored: ``N`` flags of objects that count neither as found nor as missed.
        where: file and, where it has several images, place of the labels, for messages.
    """

    image: str
    size: tuple[int, int]
    boxes: np.ndarray
    names: list[str]
    ignored: list[bool]
    where: str

    @property
    def counted(self) -> list[str]:
        """Class names of the objects that are not ignored."""
        return [name for name, ignored in zip(self.names, self.ignored, strict=True) if not ignored]


@dataclass
class Boxes:
    """Detection labels of a folder.

    Args:
        kind: of the layout.
        parts: part -> images.
        classes: in label order, those without objects among them.
        stock: part -> annotation file and folder of the images that ``CocoDataset`` reads as they are.
    """

    kind: str
    parts: dict[str, list[Annotated]]
    classes: tuple[str, ...]
    stock: dict[str, tuple[str, str]] = field(default_factory=dict)


def coco_content(images: Sequence[Annotated], classes: Sequence[str]) -> dict[str, Any]:
    """Return the content of a COCO file; pycocotools takes an annotation of id 0 for none, so ids count from 1."""
    ids = {name: number for number, name in enumerate(classes, start=1)}
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, each in enumerate(images, start=1):
        width, height = each.size
        listed.append({'id': image_id, 'file_name': each.image, 'width': width, 'height': height})
        for box, name, ignored in zip(each.boxes.tolist(), each.names, each.ignored, strict=True):
            if name in ids:
                shape = {'bbox': box, 'area': box[2] * box[3], 'iscrowd': int(ignored)}
                annotations.append(
                    {'id': len(annotations) + 1, 'image_id': image_id, 'category_id': ids[name], **shape}
                )
    categories = [{'id': number, 'name': name} for name, number in ids.items()]
    return {'images': listed, 'annotations': annotations, 'categories': categories}
