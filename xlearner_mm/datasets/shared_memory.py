"""Arrays that processes of one machine hold once, in memory that has no name and so leaves nothing behind."""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

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
