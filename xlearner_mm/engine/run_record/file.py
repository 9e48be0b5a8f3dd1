"""The file of a work directory that lists the starts of its training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xlearner_mm.engine.whole_file import write_text_whole

RECORD = 'run.json'
"""Its name: ``{"starts": [<the first>, <each resumed one>, ...]}``."""


def read_starts(work_dir: Path) -> list[dict[str, Any]]:
    """Return what a work directory says of the starts of its training, the first one first.

    Raises:
        ValueError: the file is damaged.
    """
    path = work_dir / RECORD
    if not path.is_file():
        return []
    try:
        return list(json.loads(path.read_text(encoding='utf-8'))['starts'])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged ({error}): move it away, and the next start begins a new one') from error


def add_start(work_dir: Path, start: dict[str, Any]) -> list[str]:
    """Write one more start into the file of a work directory.

    Args:
        work_dir: the work directory.
        start: plain data.

    Returns:
        What differs from the start before it, as dotted names; empty for the first one.

    Raises:
        ValueError: the file that is there is damaged.
    """
    starts = read_starts(work_dir)
    write_text_whole(str(work_dir / RECORD), json.dumps({'starts': [*starts, start]}, indent=1) + '\n')
    return _differences(starts[-1], start) if starts else []


_OF_THE_START = ('time', 'command', 'iteration', 'not_taken_over')
"""What is another in every start."""


def _differences(before: Any, now: Any, path: str = '') -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if path or name not in _OF_THE_START]
        inner = (_differences(before.get(name), now.get(name), f'{path}.{name}' if path else name) for name in names)
        return [found for found_within in inner for found in found_within]
    return [] if before == now else [path]
