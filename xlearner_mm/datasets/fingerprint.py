"""What tells whether two machines hold the same data set."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from xlearner_mm.datasets.spread import spread

_SAMPLES = 256
"""Images whose files' sizes count, spread evenly over a data set."""
_FILES = ('img_path', 'seg_map_path', 'depth_map_path')


def fingerprint(dataset: Dataset) -> str:
    """Return a digest of a data set's list of images and annotations, in their order; no image is read.

    Of mmengine's data sets (mmdet's, mmseg's and mmpretrain's) it covers all they hold, through wrappers around them,
    and the sizes of some files of images and maps; of others only the class and the number of items. Names within a
    data set's ``data_root`` count from there: the same files in another folder are the same data.

    Args:
        dataset: a built data set.
    """
    digest = hashlib.sha256(str(len(dataset)).encode())  # type: ignore[arg-type]
    for part in _parts(dataset):
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(dataset: Any) -> Iterator[bytes]:
    yield type(dataset).__name__.encode()
    for inner in [*getattr(dataset, 'datasets', []), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from _parts(inner)
    if isinstance(dataset, BaseDataset):
        root = os.path.join(dataset.data_root, '') if dataset.data_root else ''
        # One by one: a pickle of all at once depends on which of them share objects.
        for index in range(len(dataset)):
            yield pickle.dumps(_within(dataset.get_data_info(index), root), protocol=4)
        for index in spread(len(dataset), _SAMPLES):
            yield str(_sizes(dataset.get_data_info(index))).encode()


def _within(info: Mapping[str, Any], root: str) -> dict[str, Any]:
    """An image's annotations, names of files from their data set's root."""
    return {key: value.removeprefix(root) if isinstance(value, str) else value for key, value in info.items()}


def _sizes(info: Mapping[str, Any]) -> list[int | None]:
    """Bytes of an image's files; None of those that are not here, or on other storage than a disk."""
    paths = [info[key] for key in _FILES if isinstance(info.get(key), str)]
    return [os.path.getsize(path) if os.path.isfile(path) else None for path in paths]
