"""Digest of a dataset, to compare it between machines."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

from xlearner_mm.spread import spread

_SAMPLES = 256
"""Number of images whose file sizes are included, spread evenly over a dataset."""
_FILES = ('img_path', 'seg_map_path', 'depth_map_path')
_AT_ONCE = 20_000
"""Number of images whose annotations are hashed at a time."""
_FRAME = slice(3, 11)
"""Position of the length in an image's pickle (protocol 4), which depends on the length of the root."""
_FRAME_OPCODE, _SHORT_TEXT, _LONG_TEXT = 0x95, 0x8C, ord('X')
_ONE_FRAME = 60_000
"""Size up to which a pickle has a single frame; larger ones have further lengths in between."""
_known: WeakKeyDictionary[Dataset, str] = WeakKeyDictionary()


def fingerprint(dataset: Dataset) -> str:
    """Return a digest of a built dataset's images and annotations in their order, without reading images.

    For MMEngine's datasets, wrapped or not, it covers all annotations and the sizes of some image files; for others
    only the class and the number of items. File names are relative to ``data_root``: the same files in another folder
    are the same data. It is cached per dataset.
    """
    if dataset not in _known:
        digest = hashlib.sha256(str(len(dataset)).encode())  # type: ignore[arg-type]
        for part in _parts(dataset):
            digest.update(part)
        _known[dataset] = digest.hexdigest()[:16]
    return _known[dataset]


def _parts(dataset: Any) -> Iterator[bytes]:
    yield type(dataset).__name__.encode()
    for inner in [*getattr(dataset, 'datasets', []), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from _parts(inner)
    if isinstance(dataset, BaseDataset):
        root = os.path.join(dataset.data_root, '') if dataset.data_root else ''
        for start in range(0, len(dataset), _AT_ONCE):
            yield from _without_root(dataset, start, root)
        for index in spread(len(dataset), _SAMPLES):
            yield str(_sizes(dataset.get_data_info(index))).encode()


def _pickles(dataset: BaseDataset, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pickles of some images' annotations, one by one as MMEngine serializes them, and their edges."""
    if not dataset.serialize_data:
        each = [pickle.dumps(info, protocol=4) for info in dataset.data_list[start : start + _AT_ONCE]]
        return np.frombuffer(b''.join(each), np.uint8), np.cumsum([0, *map(len, each)])
    before = dataset.data_address[start - 1 : start] if start else [0]
    edges = np.concatenate([before, dataset.data_address[start : start + _AT_ONCE]])
    return dataset.data_bytes[edges[0] : edges[-1]], edges - edges[0]


def _without_root(dataset: BaseDataset, start: int, root: str) -> Iterator[bytes]:
    """Yield some images' annotations without the root, and without all lengths that depend on it."""
    data, edges = _pickles(dataset, start)
    name = root.encode()
    # Few are too large for one frame; whether they are must not depend on the root either.
    large = [
        index
        for index in np.flatnonzero(np.diff(edges) > _ONE_FRAME)
        if len(_without(data[edges[index] : edges[index + 1]].tobytes(), name)) > _ONE_FRAME
    ]
    before = 0
    for index in [*large, len(edges) - 1]:
        yield _small_without_root(data[edges[before] : edges[index]], edges[before:index] - edges[before], name)
        if index in large:
            yield pickle.dumps(_within(dataset.get_data_info(start + int(index)), root), protocol=4)
        before = index + 1


def _small_without_root(data: np.ndarray, starts: np.ndarray, root: bytes) -> bytes:
    data = data.copy()
    framed = starts[data[starts + _FRAME.start - 1] == _FRAME_OPCODE]
    for position in range(_FRAME.start, _FRAME.stop):
        data[framed + position] = 0
    if not root:
        return data.tobytes()
    names = _find(data, root)
    short = names[data[names - 2] == _SHORT_TEXT]
    long = names[data[names - 5] == _LONG_TEXT]
    for position in (1, 2):
        data[short - position] = data[long - position] = 0
    # A long name may be a short one below another root.
    data = np.delete(data, [long - position for position in (3, 4, 5)])
    return _without(data.tobytes(), root)


def _find(data: np.ndarray, name: bytes) -> np.ndarray:
    """Return the positions of a name in bytes."""
    found = np.flatnonzero(data[: max(len(data) - len(name), 0)] == name[0])
    for position, byte in enumerate(name):
        found = found[data[found + position] == byte]
    return found


def _without(record: bytes, root: bytes) -> bytes:
    return record.replace(root, b'') if root else record


def _within(value: Any, root: str) -> Any:
    """Return annotations with file names relative to the root."""
    if isinstance(value, str):
        return value.removeprefix(root)
    if isinstance(value, dict):
        return {key: _within(item, root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_within(item, root) for item in value]
    return value


def _sizes(info: Mapping[str, Any]) -> list[int | None]:
    """Return the sizes of an image's files; None for missing ones and those on other storage than a disk."""
    paths = [info[key] for key in _FILES if isinstance(info.get(key), str)]
    return [os.path.getsize(path) if os.path.isfile(path) else None for path in paths]
