"""COCO detection: ``{split}/*.jpg`` and ``annotations/instances_{split}.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_photo
from xlearner_mm.mini.sample import IMAGE_SIZE, Instance, Sample


def write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split; category ids count from 1 in label order."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, sample in enumerate(samples, start=1):
        name = f'{image_id:06d}.jpg'
        save_photo(root / split / name, sample.image)
        size = {'height': IMAGE_SIZE, 'width': IMAGE_SIZE}
        images.append({'id': image_id, 'file_name': name, **size})
        for instance in sample.instances:
            annotations.append(_annotation(len(annotations) + 1, image_id, instance))
    categories = [{'id': i, 'name': name, 'supercategory': entry.name} for i, name in enumerate(entry.classes, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path = root / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _annotation(number: int, image_id: int, instance: Instance) -> dict[str, Any]:
    box = instance.box
    return {
        'id': number,
        'image_id': image_id,
        'category_id': instance.label + 1,
        'bbox': [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
        'area': int(instance.visible.sum()),
        'segmentation': {'size': [IMAGE_SIZE, IMAGE_SIZE], 'counts': run_lengths(instance.visible)},
        'iscrowd': 0,
    }


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths of a mask: column by column, zeros first.

    Args:
        mask: ``(H, W)`` bool.
    """
    flat = np.concatenate([[False], mask.ravel(order='F')])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *changes, mask.size]).tolist()
