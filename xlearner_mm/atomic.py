"""Atomic file writes."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PARTIAL = '.partial'
"""Suffix of a file that is being written."""


@contextmanager
def atomic_write(path: str | os.PathLike[str], suffix: str = PARTIAL, durable: bool = True) -> Iterator[str]:
    """Yield a temporary file name beside ``path``, and rename that file to ``path`` when it is complete.

    A process that is killed anywhere within leaves ``path`` as it was: absent, or the old file.

    Args:
        path: a file on a local disk; its folder is created.
        suffix: of the temporary file; unique per process where several may write the same file. Defaults to
            :data:`PARTIAL`.
        durable: flush to the disk, so that the file survives a power failure. Defaults to True.

    Raises:
        OSError: the disk is full, or the file cannot be written; the temporary file is removed.
    """
    path = os.fspath(path)
    folder, partial = osp.dirname(path) or '.', path + suffix
    os.makedirs(folder, exist_ok=True)
    try:
        yield partial
        if durable:
            _sync(partial)
        os.replace(partial, path)
        if durable:  # without this a power failure may lose the new name although the bytes are on the disk
            _sync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.remove(partial)


def atomic_write_text(path: str | os.PathLike[str], text: str, durable: bool = True) -> None:
    """Write a small text file; arguments and errors as of :func:`atomic_write`."""
    with atomic_write(path, durable=durable) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write(text)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
