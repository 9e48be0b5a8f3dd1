"""What tells whether two machines hold the same data set."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset


def fingerprint(dataset: Dataset) -> str:
    """Return a digest of a data set's list of images and annotations, in their order; no image is read.

    Of mmengine's data sets (mmdet's, mmseg's and mmpretrain's) it covers all they hold, through wrappers around them;
    of others only the class and the number of items.

    Args:
        dataset: a built data set.
    """
    digest = hashlib.sha256(str(len(dataset)).encode())  # type: ignore[arg-type]
    for part in _parts(dataset):
        digest.update(part)
    return digest.hexdigest()[:16]


def _parts(dataset: Any) -> Iterator[Any]:
    yield type(dataset).__name__.encode()
    for inner in [*getattr(dataset, 'datasets', []), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from _parts(inner)
    # mmengine's data sets keep their list as one array of bytes, or as it was read.
    if getattr(dataset, 'serialize_data', False) and hasattr(dataset, 'data_bytes'):
        yield memoryview(dataset.data_bytes)
    elif hasattr(dataset, 'data_list'):
        # One by one: a pickle of all at once depends on which of them share objects.
        yield from (pickle.dumps(item, protocol=4) for item in dataset.data_list)
