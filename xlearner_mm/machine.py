"""Cores and memory that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

# Of control groups, by which containers and schedulers limit: of version 2 and of version 1.
_LIMITS = (Path('/sys/fs/cgroup/memory.max'), Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'))


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    # macOS has no affinity
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def usable_memory() -> int:
    """Return the bytes of memory of this machine, or of the container if it has less."""
    physical = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return min([physical, *(limit for limit in map(_limit, _LIMITS) if limit is not None)])


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text(encoding='ascii').strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # 'max' is none
