"""Annotations that one process of every machine reads, and all of its processes hold once."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

import numpy as np
import torch.distributed as dist
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank, get_world_size

from xlearner_mm.errors import ConfigError, SourceError

_ALIGNMENT = 64


class Address(NamedTuple):
    """Where another process of the same machine finds memory, as long as its owner lives.

    Args:
        process: number of the process that has it open.
        file: its descriptor there.
        inode: device and number of the file: a process of that number may be another one meanwhile.
        size: in bytes.
    """

    process: int
    file: int
    inode: tuple[int, int]
    size: int


class SharedMemory:
    """Memory of several processes, freed by the system when the last of them ends, however it does.

    It is a file without a name: in memory (``memfd_create``, which no limit of ``/dev/shm`` concerns), or in the folder
    for temporary files where the system has no such files.

    Args:
        file: descriptor of the open file; closed with this object.
        size: its bytes.
    """

    def __init__(self, file: int, size: int) -> None:
        self.file, self.size = file, size
        self._view = memoryview(mmap.mmap(file, size, access=mmap.ACCESS_READ))

    @classmethod
    def holding(cls, size: int, fill: Callable[[memoryview], None]) -> SharedMemory:
        """Make memory, and let a function write it.

        Args:
            size: in bytes, at least 1.
            fill: called once with all of it.

        Raises:
            OSError: there is no room for it.
        """
        file = _nameless_file()
        os.posix_fallocate(file, 0, size)  # an error here, in place of a signal when it is written
        with mmap.mmap(file, size) as memory, memoryview(memory) as view:
            fill(view)
        return cls(file, size)

    @classmethod
    def at(cls, address: Address) -> SharedMemory:
        """Open another process's memory.

        Raises:
            OSError: it is not there, or not this process's to read.
        """
        file = os.open(f'/proc/{address.process}/fd/{address.file}', os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(file)
        if ((found.st_dev, found.st_ino), found.st_size) != (tuple(address.inode), address.size):
            os.close(file)
            raise FileNotFoundError(f'process {address.process} does not hold the memory any more')
        return cls(file, address.size)

    @property
    def address(self) -> Address:
        """Where this process has it."""
        found = os.fstat(self.file)
        return Address(os.getpid(), self.file, (found.st_dev, found.st_ino), self.size)

    def __getitem__(self, part: slice) -> memoryview:
        return self._view[part]

    def __del__(self) -> None:
        if hasattr(self, 'file'):
            os.close(self.file)


class SharedArray(np.ndarray):
    """A read-only array in shared memory; workers that are spawned get its address, not a copy."""

    memory: SharedMemory | None
    offset: int

    @classmethod
    def of(cls, memory: SharedMemory, offset: int, kind: str, length: int) -> SharedArray:
        """Return an array of one dimension.

        Args:
            memory: that holds it.
            offset: its first byte.
            kind: NumPy's name of its type.
            length: its number of items.
        """
        stop = offset + length * np.dtype(kind).itemsize
        array = np.frombuffer(memory[offset:stop], kind).view(cls)
        array.memory, array.offset = memory, offset
        return array

    def __array_finalize__(self, source: Any) -> None:
        self.memory = None  # a part of it, or what is computed from it, is an array like any other

    def __reduce__(self) -> Any:
        if self.memory is None:
            return super().__reduce__()
        return _reopened, (self.memory.address, self.offset, self.dtype.str, len(self))


class SharedItems(Sequence):
    """A list that unpickles its items from shared memory one by one.

    Args:
        data: pickles, one after the other.
        ends: where each ends.
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
        The memory, and of each array its offset, type and length.

    Raises:
        OSError: there is no room for them.
    """
    places, size = [], 1
    for array in arrays:
        offset = -(-size // _ALIGNMENT) * _ALIGNMENT
        places.append((offset, array.dtype.str, len(array)))
        size = offset + array.nbytes

    def fill(view: memoryview) -> None:
        for array, (offset, kind, length) in zip(arrays, places, strict=True):
            np.frombuffer(view, kind, length, offset)[:] = array

    return SharedMemory.holding(size, fill), places


def give_back_freed() -> None:
    """Let the system have the memory of objects that are gone, which glibc keeps for later ones; no other library does.

    What is parsed takes several times the memory of what is kept of it.
    """
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def _reopened(address: Address, offset: int, kind: str, length: int) -> SharedArray:
    return SharedArray.of(SharedMemory.at(address), offset, kind, length)


def _nameless_file() -> int:
    try:
        return os.memfd_create('annotations', os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


_Result = TypeVar('_Result')
_DATA = ('data_list', 'data_bytes', 'data_address')
_PIPELINE = 'pipeline'
_copies: WeakSet[BaseDataset] = WeakSet()


def read_once(read: Callable[[], _Result], parts: Sequence[BaseDataset]) -> _Result:
    """Read data sets' annotations in one process of every machine; its other processes look at what that one holds.

    All processes call it in the same order. Those that would read other files, have other settings or cannot look into
    the reader's memory read for themselves. A single process just reads.

    Args:
        read: reads the annotations of all parts that have not been read, and returns plain data.
        parts: the data sets; of classes that are not MMEngine's, everybody reads for himself.

    Returns:
        What ``read`` returned in the process that has read.

    Raises:
        Exception: what ``read`` raises. Processes that wait for the reader raise a SourceError or a RuntimeError of the
            same words.
    """
    if get_world_size() == 1:
        result = read()
        give_back_freed()
        return result
    rank, everyones = get_rank(), _gather((_machine(), [_digest(part) for part in parts]))
    alike = [other for other, entry in enumerate(everyones) if parts and entry == everyones[rank]] or [rank]
    reader, error = alike[0], None
    told: dict[str, Any] = {}
    if reader == rank:
        before = [_attributes(part) for part in parts]
        try:
            result = read()
            if len(alike) > 1:
                told = _published(parts, before, result)
            give_back_freed()
        except Exception as failure:
            error, told = failure, {'error': str(failure), 'explained': isinstance(failure, ConfigError)}
    told = _gather(told)[reader]
    if error is not None:
        raise error
    if reader == rank:
        return result
    if 'error' in told:
        raise SourceError(told['error']) if told['explained'] else RuntimeError(told['error'])
    found = _adopted(parts, told) if told else None
    # What is left: wrappers around the parts, or everything.
    own = read()
    return own if found is None else found[0]


def is_copy(parts: Sequence[BaseDataset]) -> bool:
    """Return whether another process has read these data sets, and this one looks at its memory.

    Args:
        parts: data sets, without their wrappers.
    """
    return bool(parts) and all(part in _copies for part in parts)


def _published(parts: Sequence[BaseDataset], before: list[dict[str, bytes]], result: Any) -> dict[str, Any]:
    """Move what was read into shared memory; empty where that cannot be done, and everybody reads for himself."""
    try:
        changed = [_changed(part, known) for part, known in zip(parts, before, strict=True)]
        state = np.frombuffer(pickle.dumps((result, changed)), np.uint8)
        memory, places = write_arrays([state, *(array for part in parts for array in _arrays(part))])
    except (OSError, pickle.PicklingError, TypeError, AttributeError):
        return {}
    arrays = [SharedArray.of(memory, *place) for place in places]
    for part, data, ends in zip(parts, arrays[1::2], arrays[2::2], strict=True):
        _hold(part, data, ends)
    return {'address': tuple(memory.address), 'places': places}


def _adopted(parts: Sequence[BaseDataset], told: dict[str, Any]) -> tuple[Any] | None:
    """Let data sets hold what another process has read; None if its memory cannot be looked into, or is of others."""
    try:
        memory = SharedMemory.at(Address(*told['address']))
    except OSError:
        return None
    arrays = [SharedArray.of(memory, *place) for place in told['places']]
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
    """A data set's list as MMEngine serializes it."""
    if part.serialize_data:
        return part.data_bytes, part.data_address
    each = [pickle.dumps(info, protocol=4) for info in part.data_list]
    return np.frombuffer(b''.join(each), np.uint8), np.cumsum([len(item) for item in each])


def _hold(part: BaseDataset, data: np.ndarray, ends: np.ndarray) -> None:
    if part.serialize_data:
        part.data_bytes, part.data_address = data, ends
    else:
        part.data_list = SharedItems(data, ends)  # type: ignore[assignment]


def _attributes(part: BaseDataset) -> dict[str, bytes]:
    """What a data set is made of, beside its list; what cannot be pickled is told by its class."""
    found = {}
    for name, value in vars(part).items():
        if name not in (*_DATA, _PIPELINE):
            try:
                found[name] = pickle.dumps(value)
            except Exception:  # whatever objects raise that were not made for it
                found[name] = type(value).__name__.encode()
    return found


def _changed(part: BaseDataset, before: dict[str, bytes]) -> dict[str, Any]:
    """What reading has set in a data set, beside its list."""
    now = _attributes(part)
    return {name: getattr(part, name) for name in now if now[name] != before.get(name)}


def _digest(part: BaseDataset) -> str:
    """What would be read: class, settings, and the files themselves."""
    settings = {name: value for name, value in _attributes(part).items() if name != 'prepare_data'}
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
    """Processes of which this is the same can look into each other's memory."""
    try:
        with open('/proc/sys/kernel/random/boot_id') as file:
            return file.read(), os.readlink('/proc/self/ns/pid'), str(os.getuid())
    except OSError:
        return (f'{os.uname().nodename} {os.getpid()}',)


def _gather(mine: Any) -> list[Any]:
    everyones: list[Any] = [None] * get_world_size()
    dist.all_gather_object(everyones, mine)
    return everyones
