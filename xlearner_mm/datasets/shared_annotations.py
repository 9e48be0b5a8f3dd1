"""Annotations that one process of a machine reads, and that all of its processes share in memory."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

import numpy as np
import torch.distributed as dist
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank, get_world_size

from xlearner_mm.errors import ConfigError, SourceError

_Result = TypeVar('_Result')
_NOT_COMPARED = ('data_list', 'data_bytes', 'data_address', 'pipeline')
_ALIGNMENT = 64
_copies: WeakSet[BaseDataset] = WeakSet()


def read_once(read: Callable[[], _Result], parts: Sequence[BaseDataset]) -> _Result:
    """Read annotations of datasets in one process of every machine, and share them with its other processes.

    All processes call it in the same order. Those with other files or settings, or without access to the reader's
    memory, read for themselves.

    Args:
        read: reads the annotations of all unread parts, and returns plain data.
        parts: MMEngine's datasets; without any, every process reads.

    Returns:
        The result of ``read`` in the process that has read.

    Raises:
        Exception: of ``read``. Processes that wait for the reader raise a SourceError or RuntimeError with its message.
    """
    if get_world_size() == 1:
        result = read()
        give_back_freed()
        return result
    rank, everyones = get_rank(), _gather((_machine(), [_digest(part) for part in parts]))
    alike = [other for other, entry in enumerate(everyones) if parts and entry == everyones[rank]] or [rank]
    reader, error = alike[0], None
    message: dict[str, Any] = {}
    if reader == rank:
        before = [attributes_of(part) for part in parts]
        try:
            result = read()
            if len(alike) > 1:
                message = _publish(parts, before, result)
            give_back_freed()
        except Exception as failure:
            error, message = failure, {'error': str(failure), 'explained': isinstance(failure, ConfigError)}
    message = _gather(message)[reader]
    if error is not None:
        raise error
    if reader == rank:
        return result
    if 'error' in message:
        raise SourceError(message['error']) if message['explained'] else RuntimeError(message['error'])
    found = _adopt(parts, message) if message else None
    own = read()  # wrappers around the parts, or everything
    return own if found is None else found[0]


def is_copy(parts: Sequence[BaseDataset]) -> bool:
    """Return whether datasets, given without wrappers, use the memory of another process that has read them."""
    return bool(parts) and all(part in _copies for part in parts)


def give_back_freed() -> None:
    """Return freed memory to the system, which glibc keeps: parsing takes several times the memory of the result."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


class Address(NamedTuple):
    """Location of memory for other processes of the machine, valid while its owner lives.

    Args:
        process: a process that has it open.
        file: its file descriptor there.
        inode: device and inode of the file; detects a process number that is reused.
        size: in bytes.
    """

    process: int
    file: int
    inode: tuple[int, int]
    size: int


class SharedMemory:
    """Read-only view of a nameless file, which the system frees when the last process that has it open ends.

    The file is in memory (``memfd_create``, not limited by ``/dev/shm``), or else in the folder of temporary files.

    Args:
        file: descriptor of the open file; closed with this object.
        size: in bytes.
    """

    def __init__(self, file: int, size: int) -> None:
        self.file, self.size = file, size
        self._view = memoryview(mmap.mmap(file, size, access=mmap.ACCESS_READ))

    @classmethod
    def at(cls, address: Address) -> SharedMemory:
        """Open another process's memory.

        Raises:
            OSError: it does not exist, or may not be read.
        """
        file = os.open(f'/proc/{address.process}/fd/{address.file}', os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(file)
        if ((found.st_dev, found.st_ino), found.st_size) != (tuple(address.inode), address.size):
            os.close(file)
            raise FileNotFoundError(f'process {address.process} does not hold the memory any more')
        return cls(file, address.size)

    @property
    def address(self) -> Address:
        """Its address in this process."""
        found = os.fstat(self.file)
        return Address(os.getpid(), self.file, (found.st_dev, found.st_ino), self.size)

    def __getitem__(self, part: slice) -> memoryview:
        return self._view[part]

    def __del__(self) -> None:
        if hasattr(self, 'file'):
            os.close(self.file)


class SharedArray(np.ndarray):
    """A read-only array of one dimension in shared memory; spawned workers receive its address, not a copy."""

    memory: SharedMemory | None
    offset: int

    @classmethod
    def of(cls, memory: SharedMemory, offset: int, kind: str, length: int) -> SharedArray:
        """Return the array at a byte offset of memory, of a NumPy type and a number of items."""
        stop = offset + length * np.dtype(kind).itemsize
        array = np.frombuffer(memory[offset:stop], kind).view(cls)
        array.memory, array.offset = memory, offset
        return array

    def __array_finalize__(self, source: Any) -> None:
        self.memory = None  # slices and results are ordinary arrays

    def __reduce__(self) -> Any:
        if self.memory is None:
            return super().__reduce__()
        return _reopened, (self.memory.address, self.offset, self.dtype.str, len(self))


class SharedItems(Sequence):
    """A list that unpickles its items from an array one by one.

    Args:
        data: concatenated pickles.
        ends: end of each pickle.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data, self.ends = data, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = self.ends[index - 1] if index else 0
        return pickle.loads(self.data[start : self.ends[index]].data)


def write_arrays(arrays: Sequence[np.ndarray]) -> tuple[SharedMemory, list[tuple[int, str, int]]]:
    """Copy arrays of one dimension into new shared memory.

    Returns:
        The memory, and offset, type and length of each array.

    Raises:
        OSError: there is no space.
    """
    places, size = [], 1
    for array in arrays:
        offset = -(-size // _ALIGNMENT) * _ALIGNMENT
        places.append((offset, array.dtype.str, len(array)))
        size = offset + array.nbytes
    file = _nameless_file()
    os.posix_fallocate(file, 0, size)  # an error here instead of a signal on writing
    with mmap.mmap(file, size) as memory, memoryview(memory) as view:
        for array, (offset, kind, length) in zip(arrays, places, strict=True):
            np.frombuffer(view, kind, length, offset)[:] = array
    return SharedMemory(file, size), places


def _reopened(address: Address, offset: int, kind: str, length: int) -> SharedArray:
    return SharedArray.of(SharedMemory.at(address), offset, kind, length)


def _nameless_file() -> int:
    try:
        return os.memfd_create('annotations', os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _publish(parts: Sequence[BaseDataset], before: list[dict[str, bytes]], result: Any) -> dict[str, Any]:
    """Move what was read into shared memory; return its address, or nothing where that is not possible."""
    try:
        changed = [changed_attributes(part, known) for part, known in zip(parts, before, strict=True)]
        state = np.frombuffer(pickle.dumps((result, changed)), np.uint8)
        memory, places = write_arrays([state, *(array for part in parts for array in _arrays(part))])
    except (OSError, pickle.PicklingError, TypeError, AttributeError):
        return {}
    arrays = [SharedArray.of(memory, *place) for place in places]
    for part, data, ends in zip(parts, arrays[1::2], arrays[2::2], strict=True):
        _hold(part, data, ends)
    return {'address': tuple(memory.address), 'places': places}


def _adopt(parts: Sequence[BaseDataset], message: dict[str, Any]) -> tuple[Any] | None:
    """Let datasets hold what another process has read; return its result, or None without access to its memory."""
    try:
        memory = SharedMemory.at(Address(*message['address']))
    except OSError:
        return None
    arrays = [SharedArray.of(memory, *place) for place in message['places']]
    result, changed = pickle.loads(arrays[0].data)
    for part, state, data, ends in zip(parts, changed, arrays[1::2], arrays[2::2], strict=True):
        if part._fully_initialized:
            # Built by a class that reads at once, in every process.
            if not all(np.array_equal(*pair) for pair in zip(_arrays(part), (data, ends), strict=True)):
                continue
        else:
            vars(part).update(state)
        _hold(part, data, ends)
        _copies.add(part)
    return (result,)


def _arrays(part: BaseDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return a dataset's list as MMEngine serializes it."""
    if part.serialize_data:
        return part.data_bytes, part.data_address
    each = [pickle.dumps(info, protocol=4) for info in part.data_list]
    return np.frombuffer(b''.join(each), np.uint8), np.cumsum([len(item) for item in each])


def _hold(part: BaseDataset, data: np.ndarray, ends: np.ndarray) -> None:
    if part.serialize_data:
        part.data_bytes, part.data_address = data, ends
    else:
        part.data_list = SharedItems(data, ends)  # type: ignore[assignment]


def attributes_of(part: BaseDataset) -> dict[str, bytes]:
    """Return a dataset's attributes without its list, pickled; the class name of those that cannot be pickled."""
    found = {}
    for name, value in vars(part).items():
        if name not in _NOT_COMPARED:
            try:
                # mmpretrain makes a tuple of a set, whose order differs between processes.
                found[name] = pickle.dumps(sorted(value) if name == 'extensions' else value)
            except Exception:  # whatever objects raise that were not made for it
                found[name] = type(value).__name__.encode()
    return found


def changed_attributes(part: BaseDataset, before: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the attributes that reading has set."""
    return {name: getattr(part, name) for name, value in attributes_of(part).items() if value != before.get(name)}


def _digest(part: BaseDataset) -> str:
    """Return a digest of class, settings and files."""
    settings = {name: value for name, value in attributes_of(part).items() if name != 'prepare_data'}
    files = [_file(path) for path in (part.ann_file, part.data_root)]
    content = (type(part).__qualname__, os.getcwd(), files, sorted(settings.items()))
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _file(path: str | None) -> tuple[int, ...]:
    try:
        found = os.stat(path or '')
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _machine() -> tuple[str, ...]:
    """Identify the processes that can read each other's memory."""
    try:
        with open('/proc/sys/kernel/random/boot_id') as file:
            return file.read(), os.readlink('/proc/self/ns/pid'), str(os.getuid())
    except OSError:
        return (f'{os.uname().nodename} {os.getpid()}',)


def _gather(mine: Any) -> list[Any]:
    everyones: list[Any] = [None] * get_world_size()
    dist.all_gather_object(everyones, mine)
    return everyones
