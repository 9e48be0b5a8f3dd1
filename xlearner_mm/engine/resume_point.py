"""Which checkpoint an interrupted training goes on from."""

from __future__ import annotations

import os
import os.path as osp
import re

from mmengine.logging import print_log

from xlearner_mm.transfer.checkpoint import CheckpointError, read_checkpoint

_STEP = re.compile(r'^(iter|epoch)_(\d+)\.pth$')


def resume_point(work_dir: str) -> str | None:
    """Return the last checkpoint of a work directory that can be read, or None where no training has saved.

    One that is damaged is named in the log, and the one before it is taken.

    Raises:
        CheckpointError: there are checkpoints, but every one is damaged.
    """
    faults = []
    for path in saved_checkpoints(work_dir):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            print_log(f'{error}; the one before it is tried', 'current', 40)
            faults.append(str(error))
            continue
        return path
    if faults:
        raise CheckpointError(f'no checkpoint in {work_dir} can be resumed: {"; ".join(faults)}')
    return None


def saved_checkpoints(work_dir: str) -> list[str]:
    """Return the checkpoints of a work directory, the one that ``last_checkpoint`` names first, then the newest."""
    pointed = _pointed(work_dir)
    folder = work_dir if pointed is None else osp.dirname(pointed)
    found = [(int(match[2]), name) for name in _names(folder) if (match := _STEP.match(name))]
    older = [osp.join(folder, name) for _, name in sorted(found, reverse=True)]
    return [*([pointed] if pointed is not None else []), *(path for path in older if path != pointed)]


def _pointed(work_dir: str) -> str | None:
    pointer = osp.join(work_dir, 'last_checkpoint')
    if not osp.isfile(pointer):
        return None
    with open(pointer, encoding='utf-8', errors='replace') as file:
        named = file.read().strip()
    # The pointer holds the path at the time of saving; the directory may have been moved since.
    candidates = [named, osp.join(work_dir, osp.basename(named))]
    return next((path for path in candidates if osp.isfile(path)), None)


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if osp.isdir(folder) else []
