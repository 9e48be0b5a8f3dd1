"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PARTIAL = '.partial'
"""What the name of a file ends with while it is written."""


@contextmanager
def written_whole(path: str) -> Iterator[str]:
    """Give a name beside ``path`` to write to, and move what is written there once all of it is on the disk.

    A process that dies anywhere within leaves ``path`` as it was: absent, or the file it has been.

    Args:
        path: a file on a local disk.

    Raises:
        OSError: the disk is full, or refuses otherwise; nothing of the attempt is left.
    """
    partial = path + PARTIAL
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        # Without this a new name may be lost in a power failure although the bytes are on the disk.
        _sync(osp.dirname(path) or '.')
    finally:
        with suppress(FileNotFoundError):
            os.remove(partial)


def write_text_whole(path: str, text: str) -> None:
    """Replace a small text file; errors as :func:`written_whole`."""
    with written_whole(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write(text)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
