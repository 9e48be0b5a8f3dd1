"""Pictures and labels that stand in for a data set that is not there."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from xlearner_mm.datasets.errors import SourceError, told
from xlearner_mm.datasets.shared_faults import place_of

OBJECTS = 8
"""Objects on every picture; photographs of COCO have 7."""


def stand_in_items(dataset: Dataset, folder: str, size: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Run a data set's own pipeline on random pictures.

    Args:
        dataset: the stock data set, or wrappers around it; its annotations are not read.
        folder: where the pictures are written.
        size: width and height of the pictures in pixels; every second one stands upright.
        count: how many items are wanted.

    Raises:
        SourceError: the data set has no pipeline that takes one picture at a time, or it fails.
    """
    reader = _reader(dataset)
    items = []
    for index in range(count):
        width, height = size if index % 2 == 0 else size[::-1]
        described = _described(folder, width, height, index)
        described['reduce_zero_label'] = getattr(reader, 'reduce_zero_label', False)
        if not any('LoadImage' in type(transform).__name__ for transform in reader.pipeline.transforms):
            described.update(_loaded(described['img_path']))
        items.append(_through(reader.pipeline.transforms, described, f'{width} x {height} pixels'))
    return items


def _through(transforms: Sequence[Any], data: Any, size: str) -> Any:
    for number, transform in enumerate(transforms):
        try:
            data = transform(data)
        except Exception as error:
            place = place_of(transform, number)
            raise SourceError(f'its pipeline fails on a picture of {size}: {place}: {told(error)}') from error
        if data is None:
            raise SourceError(f'its pipeline drops pictures of {size}')
    return data


def _reader(dataset: Any) -> Any:
    """The data set that reads files, within wrappers."""
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else list(getattr(dataset, 'datasets', ()))
    if not inner:
        if not hasattr(dataset, 'pipeline'):
            raise SourceError(f'{type(dataset).__name__} has no pipeline: only with its data can a step be tried')
        return dataset
    if getattr(dataset, 'pipeline', None):
        raise SourceError(f'{type(dataset).__name__} mixes several pictures: only with its data can a step be tried')
    return _reader(inner[0])


def _described(folder: str, width: int, height: int, index: int) -> dict[str, Any]:
    """What a data set tells its pipeline of a picture, in the keys of all three libraries."""
    rng = np.random.default_rng(index)
    paths = {kind: osp.join(folder, f'{kind}_{width}x{height}.png') for kind in ('picture', 'mask', 'depth')}
    if not osp.exists(paths['depth']):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths['picture'])
        Image.fromarray(np.ones((height, width), np.uint8)).save(paths['mask'])
        Image.fromarray(np.full((height, width), 2000, np.uint16)).save(paths['depth'])
    return {
        'img_path': paths['picture'],
        'img_id': index,
        'sample_idx': index,
        'height': height,
        'width': width,
        'gt_label': 0,
        'instances': [_object(rng, width, height) for _ in range(OBJECTS)],
        'seg_map_path': paths['mask'],
        'depth_map_path': paths['depth'],
        'label_map': None,
        'seg_fields': [],
    }


def _loaded(path: str) -> dict[str, Any]:
    """What a data set that holds its pictures in memory, such as CIFAR, tells its pipeline."""
    picture = np.array(Image.open(path))
    return {'img': picture, 'img_shape': picture.shape[:2], 'ori_shape': picture.shape[:2]}


def _object(rng: np.random.Generator, width: int, height: int) -> dict[str, Any]:
    w, h = rng.uniform(0.1, 0.5, 2) * (width, height)
    x, y = rng.uniform(0, 1, 2) * (width - w, height - h)
    box = [float(x), float(y), float(x + w), float(y + h)]
    outline = [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]
    return {'bbox': box, 'bbox_label': 0, 'ignore_flag': 0, 'mask': [outline]}
