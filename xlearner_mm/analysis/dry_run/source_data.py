"""Number of images of a source and batches of them, from its files or from declared and assumed values."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from xlearner_mm.datasets.classes import read_by_name
from xlearner_mm.datasets.integrity.images import place_of
from xlearner_mm.datasets.multi_source_dataset import read_share
from xlearner_mm.datasets.stock_datasets import leaves
from xlearner_mm.errors import SourceError, describe_error, refuse_unknown
from xlearner_mm.sources import DECLARED, Source
from xlearner_mm.spread import spread

PICTURE = (640, 480)
"""Width and height of pictures of unknown size."""
_TRIES = 16


@dataclass(frozen=True)
class SourceData:
    """A source's dataset, read where its files exist.

    Args:
        name: the source's name.
        dataset: the stock dataset.
        images: number of its images that are trained on; None: unknown.
        origin: of that number.
        batch_size: images per step and process.
        picture: width and height of random pictures; None: the dataset's own are read.
        absent: a missing file, although the dataset's folders exist. Defaults to None.
    """

    name: str
    dataset: Dataset
    images: int | None
    origin: str
    batch_size: int
    picture: tuple[int, int] | None
    absent: str | None = None

    def items(self, folder: str) -> list[dict[str, Any]]:
        """Return some outputs of the source's pipeline, enough to sample random sizes.

        Args:
            folder: for random pictures.

        Raises:
            SourceError: an item cannot be made.
        """
        count = max(2, min(self.batch_size, _TRIES))
        if self.picture is not None:
            return stand_in_items(self.dataset, folder, self.picture, count)
        assert self.images is not None
        chosen = spread(self.images, count)
        return [self.dataset[chosen[i % len(chosen)]] for i in range(count)]


def read_source(
    name: str,
    dataset: Any,
    settings: Mapping[str, Any],
    batch_size: int,
    declared: Mapping[str, Any],
    source: Source | None = None,
) -> SourceData:
    """Read a source's annotations if its folders exist.

    Args:
        name: the source's name.
        dataset: the stock dataset, annotations not read yet.
        settings: its config.
        batch_size: images per step and process.
        declared: ``images`` and ``picture`` (width, height), used where the files do not exist.
        source: of the dataset. Defaults to None: of a training on one stock dataset.

    Raises:
        SourceError: the files cannot be read or hold no image; or an unknown setting in ``declared``.
    """
    refuse_unknown('declared', declared, DECLARED, SourceError)
    absent = None
    if all(osp.isdir(root) for root in _roots(settings)):
        try:
            if source is None:
                read_by_name(dataset)
            else:
                read_share(source, dataset, list(leaves(dataset)))
            images = len(dataset)
        except FileNotFoundError as error:
            absent = str(error.filename or error)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f'its dataset cannot be read: {type(error).__name__}: {error}') from error
        else:
            if images == 0:
                raise SourceError('its dataset is empty: check its paths and filters')
            return SourceData(name, dataset, images, 'its files', batch_size, None)
    number = declared.get('images')
    if number and source is not None:
        number = max(1, round(source.data_fraction * number))
    picture = tuple(declared.get('picture', PICTURE))
    return SourceData(name, dataset, number, 'declared' if number else 'unknown', batch_size, picture, absent)


def _roots(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get('data_root'):
        yield settings['data_root']
    for inner in (settings.get('dataset'), *(settings.get('datasets') or ())):
        if isinstance(inner, Mapping):
            yield from _roots(inner)


OBJECTS = 8
"""Objects per random picture; COCO has 7 on average."""


def stand_in_items(dataset: Dataset, folder: str, size: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Run a dataset's pipeline on random pictures.

    Args:
        dataset: the stock dataset, or wrappers around it; annotations are not read.
        folder: for the pictures.
        size: width and height of the pictures; every second one is rotated.
        count: number of items.

    Raises:
        SourceError: the dataset has no pipeline for one picture at a time, or it fails.
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
            raise SourceError(f'its pipeline fails on a picture of {size}: {place}: {describe_error(error)}') from error
        if data is None:
            raise SourceError(f'its pipeline drops pictures of {size}')
    return data


def _reader(dataset: Any) -> Any:
    """Return the dataset that reads files, inside of wrappers."""
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else list(getattr(dataset, 'datasets', ()))
    if not inner:
        if not hasattr(dataset, 'pipeline'):
            raise SourceError(f'{type(dataset).__name__} has no pipeline: only with its data can a step be tried')
        return dataset
    if getattr(dataset, 'pipeline', None):
        raise SourceError(f'{type(dataset).__name__} mixes several pictures: only with its data can a step be tried')
    return _reader(inner[0])


def _described(folder: str, width: int, height: int, index: int) -> dict[str, Any]:
    """Return a dataset's annotations of a picture, in the keys of all three libraries."""
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
    """Return the further annotations of a dataset in memory, such as CIFAR."""
    picture = np.array(Image.open(path))
    return {'img': picture, 'img_shape': picture.shape[:2], 'ori_shape': picture.shape[:2]}


def _object(rng: np.random.Generator, width: int, height: int) -> dict[str, Any]:
    w, h = rng.uniform(0.1, 0.5, 2) * (width, height)
    x, y = rng.uniform(0, 1, 2) * (width - w, height - h)
    box = [float(x), float(y), float(x + w), float(y + h)]
    outline = [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]
    return {'bbox': box, 'bbox_label': 0, 'ignore_flag': 0, 'mask': [outline]}
