"""Annotations as they were read before, in files that hold plain data and execute nothing."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import mmap
import os
import pickle
import platform
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from xlearner_mm.atomic import PARTIAL, atomic_write
from xlearner_mm.datasets.shared_annotations import attributes_of, changed_attributes
from xlearner_mm.errors import ConfigError, describe_error, refuse_unknown

_MAGIC = b'xlearner_mm annotations 1\n'
_NUMBER = 8
"""Bytes of the header's length and of the checksum, at the end."""
_AT_ONCE = 1000
"""Images of one JSON text."""
_SETTLED = 2.0
"""Seconds after which a further change of a file is sure to change its time."""
_FILES: dict[str, Callable[[Any], list[str]]] = {
    'mmdet.datasets.coco.CocoDataset': lambda part: [part.ann_file],
    'mmdet.datasets.objects365.Objects365V1Dataset': lambda part: [part.ann_file],
    'mmdet.datasets.objects365.Objects365V2Dataset': lambda part: [part.ann_file],
    'mmpretrain.datasets.base_dataset.BaseDataset': lambda part: [part.ann_file],
    'mmpretrain.datasets.custom.CustomDataset': lambda part: [part.ann_file] if part.ann_file else _folders(part),
    'mmpretrain.datasets.imagenet.ImageNet': lambda part: [part.ann_file] if part.ann_file else _folders(part),
    'xlearner_mm.datasets.inat2021.INat2021': lambda part: [part.ann_file],
    'xlearner_mm.datasets.places365.Places365': lambda part: [part.ann_file, part._categories_file],
}
"""Classes whose annotations are all in known files, and these files; folders where the names of files are labels."""


class AnnotationCache:
    """Keep the annotations of large datasets, so that the next start only reads the result.

    An entry belongs to a class with its settings, the versions and code that read it, and the size and times of every
    file that was read. It is written once it has been compared: the restored dataset holds the same bytes. Datasets of
    other classes than the known ones, or with methods or attributes of their own, are read as ever.

    Args:
        folder: of the entries; may be shared by trainings and machines.
        least: number of images below which a dataset is read again instead. Defaults to 50000, a few seconds.
    """

    def __init__(self, folder: str, least: int = 50_000) -> None:
        self.folder, self.least = folder, least

    @classmethod
    def parse(cls, setting: str | Mapping[str, Any] | None) -> AnnotationCache | None:
        """Return the cache of a setting: a folder, the arguments of this class, or None for none.

        Raises:
            ConfigError: anything else.
        """
        if setting is None:
            return None
        settings = {'folder': setting} if isinstance(setting, str) else setting
        if not isinstance(settings, Mapping) or not settings.get('folder'):
            raise ConfigError(
                f'annotation_cache must be a folder, dict(folder=..., least=...) or None, got {setting!r}'
            )
        refuse_unknown('annotation_cache', settings, ('folder', 'least'))
        return cls(**settings)

    def recall(self, part: BaseDataset, settings: Mapping[str, Any], read: Callable[[], Any]) -> Any:
        """Read a dataset's annotations, or restore what was read before.

        Args:
            part: a dataset that has not read its annotations.
            settings: on which the result depends, beside those of the dataset.
            read: reads the annotations into the dataset; returns findings, plain data.

        Returns:
            The findings.
        """
        path = self._path(part, settings)
        try:
            with _without_collector():
                found = None if path is None else _restored(path, part)
        except Exception as error:  # whatever damaged content raises
            print_log(
                f'{path} is damaged ({describe_error(error)[:100]}): the annotations are read again',
                'current',
                logging.WARNING,
            )
            found = None
        if found is not None:
            return found
        files = None if path is None else _state_of(_FILES[_name(part)](part))
        before = attributes_of(part)
        findings = read()
        if path is not None and files and len(part) >= self.least:
            try:
                with (
                    suppress(_NotKept),
                    _without_collector(),
                    atomic_write(path, f'.{platform.node()}.{os.getpid()}{PARTIAL}', durable=False) as partial,
                    open(partial, 'wb') as file,
                ):
                    _write(file, part, before, files, findings)
            except OSError as error:
                print_log(f'{path} cannot be written ({error}): the next start reads again', 'current', logging.WARNING)
        return findings

    def _path(self, part: BaseDataset, settings: Mapping[str, Any]) -> str | None:
        """The file of a dataset's entry; None for one that cannot be kept."""
        own = vars(part)
        if _name(part) not in _FILES or own.get('proposal_file'):  # which is a pickle
            return None
        if any(callable(value) and hasattr(type(part), name) for name, value in own.items()):
            return None  # methods replaced
        attributes = attributes_of(part)
        try:
            pickle.dumps([value for name, value in own.items() if name in attributes])  # compared, never written
        except Exception:  # whatever objects raise that were not made for it
            return None
        code = (_name(part), _code(type(part).__module__), os.getcwd())
        key = (code, sorted(settings.items()), sorted(attributes.items()))
        stem = Path(part.ann_file or part.data_root or 'folders').stem
        return os.path.join(self.folder, f'{stem}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.annotations')


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the search for cycles, which plain data has none of and which takes most of the time of decoding it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _name(part: BaseDataset) -> str:
    return f'{type(part).__module__}.{type(part).__qualname__}'


@cache
def _code(module: str) -> str:
    """Digest of the versions and the code that reads annotations."""
    digest = hashlib.sha256()
    for name in ('mmengine', module.split('.')[0]):
        digest.update(f'{name} {getattr(import_module(name), "__version__", "")}'.encode())
    for path in sorted(Path(__file__).parent.rglob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _folders(part: Any) -> list[str]:
    return sorted(folder for folder, _, _ in os.walk(part.img_prefix, followlinks=True))


def _state_of(paths: list[str]) -> list[list[Any]] | None:
    """Size, times and place of files and folders; None if one is not on a disk."""
    try:
        found = [(path, os.stat(path)) for path in paths]
    except OSError:
        return None
    return [[path, own.st_size, own.st_mtime_ns, own.st_ctime_ns, own.st_ino] for path, own in found]


def _settled(files: list[list[Any]]) -> bool:
    """Return whether files are as they were, and a change after reading them would have another time."""
    latest = max(max(entry[2:4]) for entry in files) / 1e9
    return latest < time.time() - _SETTLED and _state_of([entry[0] for entry in files]) == files


class _NotKept(Exception):
    """An entry that would not restore its dataset byte by byte, or whose files may change unnoticed."""


def _write(file: BinaryIO, part: Any, before: Mapping[str, bytes], files: list[list[Any]], findings: Any) -> None:
    """Write an entry: its items by chunks, of which only one is in memory, and a header behind them."""
    checksum = 0
    lengths: list[int] = []
    file.write(_MAGIC)
    try:
        attributes = {name: _encoded(value) for name, value in changed_attributes(part, before).items()}
        header = {'files': files, 'attributes': attributes, 'findings': _encoded(findings), 'lengths': lengths}
        for items, held in _chunks(part):
            text = json.dumps(items, separators=(',', ':')).encode()
            if [pickle.dumps(item, protocol=4) for item in json.loads(text)] != held:
                raise _NotKept
            file.write(text)
            checksum = zlib.crc32(text, checksum)
            lengths.append(len(text))
    except (TypeError, ValueError) as error:  # no plain data
        raise _NotKept from error
    if not _settled(files):
        raise _NotKept
    head = json.dumps(header).encode()
    head += len(head).to_bytes(_NUMBER, 'big')
    file.write(head + zlib.crc32(head, checksum).to_bytes(_NUMBER, 'big'))


def _chunks(part: Any) -> Iterator[tuple[list[Any], list[bytes]]]:
    """Yield some items at a time, and the bytes in which MMEngine holds each."""
    for start in range(0, len(part), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(part))
        if part.serialize_data:
            edges = [0 if start == 0 else int(part.data_address[start - 1]), *map(int, part.data_address[start:stop])]
            held = [part.data_bytes[a:b].tobytes() for a, b in pairwise(edges)]
            yield [pickle.loads(own) for own in held], held
        else:
            items = part.data_list[start:stop]
            yield items, [pickle.dumps(item, protocol=4) for item in items]


def _restored(path: str, part: Any) -> Any:
    """Fill a dataset from an entry and return its findings; None without one, or if a file has changed since."""
    if not os.path.exists(path):
        return None
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
        memoryview(memory) as view,
        view[len(_MAGIC) : -_NUMBER] as body,
    ):
        checksum = int.from_bytes(view[-_NUMBER:], 'big')
        if view[: len(_MAGIC)] != _MAGIC or zlib.crc32(body) != checksum:
            raise ValueError('its checksum differs')
        head = int.from_bytes(body[-_NUMBER:], 'big')
        header = json.loads(bytes(body[-_NUMBER - head : -_NUMBER]))
        if _state_of([entry[0] for entry in header['files']]) != header['files']:
            print_log(f'{path} is of files that have changed since: they are read again', 'current')
            return None
        edges = pairwise([0, *accumulate(header['lengths'])])
        _fill(part, (json.loads(bytes(body[a:b])) for a, b in edges))
    vars(part).update({name: _decoded(value) for name, value in header['attributes'].items()})
    print_log(f'annotations of {len(part):,} images as they were read before: {path}', 'current')
    return _decoded(header['findings'])


def _fill(part: Any, chunks: Iterator[list[Any]]) -> None:
    if not part.serialize_data:
        part.data_list = [item for items in chunks for item in items]
        return
    data, lengths = bytearray(), []
    for items in chunks:
        for item in items:
            own = pickle.dumps(item, protocol=4)  # as MMEngine holds them in memory
            data += own
            lengths.append(len(own))
    part.data_list, part.data_bytes = [], np.frombuffer(data, np.uint8)
    part.data_address = np.cumsum(np.asarray(lengths, np.int64))


def _encoded(value: Any) -> Any:
    """Return plain data as JSON that keeps its types.

    Raises:
        TypeError: other data.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_encoded(item) for item in value]
    if type(value) is tuple:
        return {'tuple': [_encoded(item) for item in value]}
    lists = type(value) is defaultdict and value.default_factory is list
    if type(value) is dict or lists:
        return {'lists' if lists else 'dict': [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    raise TypeError(f'{type(value).__name__} is no plain data')


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, items)] = value.items()
    if kind == 'tuple':
        return tuple(map(_decoded, items))
    pairs = ((_decoded(key), _decoded(item)) for key, item in items)
    return defaultdict(list, pairs) if kind == 'lists' else dict(pairs)
