"""The checkpoint from which an interrupted training is resumed."""

from __future__ import annotations

import os
import os.path as osp
import re
from dataclasses import dataclass
from string import Formatter
from typing import Any

from mmengine.logging import print_log

from xlearner_mm.checkpoint import read_checkpoint, resolve_checkpoint
from xlearner_mm.checkpoint.reading import pointed_checkpoint
from xlearner_mm.errors import CheckpointError

_TEMPLATES = ('iter_{}.pth', 'epoch_{}.pth')


@dataclass(frozen=True)
class Places:
    """Folder and file names of a training's checkpoints.

    Args:
        out_dir: ``CheckpointHook``'s; it holds a folder named like the work directory. Defaults to None: the work
            directory itself.
        template: ``CheckpointHook``'s ``filename_tmpl``, beside MMEngine's own two. Defaults to None.
    """

    out_dir: str | None = None
    template: str | None = None

    def folder(self, work_dir: str) -> str:
        """Return the folder of the checkpoints of a training in ``work_dir``."""
        return work_dir if self.out_dir is None else osp.join(self.out_dir, osp.basename(work_dir.rstrip(osp.sep)))

    def step(self, path: str) -> tuple[int, str] | None:
        """Return step or epoch and template of a checkpoint's name; None for another name."""
        for template in (*_TEMPLATES, *([] if self.template is None else [self.template])):
            found = re.fullmatch(_pattern(template), osp.basename(path))
            if found is not None:
                return int(found[1]), template
        return None


def resume_point(work_dir: str, places: Places = Places()) -> str | None:
    """Return the last readable checkpoint of a work directory, or None if it has none; damaged ones are logged.

    Raises:
        CheckpointError: every checkpoint is damaged, or later than the one that ``last_checkpoint`` names.
    """
    faults = []
    for path in saved_checkpoints(work_dir, places):
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


def saved_checkpoints(work_dir: str, places: Places = Places()) -> list[str]:
    """Return the checkpoints of a work directory, newest first, from the one that ``last_checkpoint`` names.

    Later ones belong to another training in the same directory.

    Raises:
        CheckpointError: there are only later ones.
    """
    pointed = pointed_checkpoint(work_dir, places.folder(work_dir))
    folder = places.folder(work_dir) if pointed is None else osp.dirname(pointed)
    last = None if pointed is None else places.step(pointed)
    found = sorted(((step, path) for path in _files(folder) if (step := places.step(path)) is not None), reverse=True)
    before = [path for step, path in found if (last is None or _not_later(step, last)) and path != pointed]
    saved = [*([pointed] if pointed is not None and osp.isfile(pointed) else []), *before]
    if found and not saved:
        raise CheckpointError(
            f'{work_dir}: last_checkpoint names {osp.basename(str(pointed))}, which is gone, and there are only later '
            f'ones, of another training, e.g. {found[0][1]}: name the one to resume from by --resume FILE'
        )
    return saved


def read_to_resume(filename: str, places: Places) -> dict[str, Any]:
    """Read a checkpoint or the last one of a work directory.

    Raises:
        CheckpointError: it cannot be read; the message names the previous one, if any.
    """
    try:
        return read_checkpoint(filename)
    except CheckpointError as error:
        path = resolve_checkpoint(filename)
        saved = saved_checkpoints(osp.dirname(path), places)
        before = saved[saved.index(path) + 1 :] if path in saved else []
        if not before:
            raise
        raise CheckpointError(f'{error}; or resume from the one before it, {before[0]}') from error


def _not_later(step: tuple[int, str], last: tuple[int, str]) -> bool:
    return step[1] == last[1] and step[0] <= last[0]


def _pattern(template: str) -> str:
    """Return the regular expression of a template's names, with the step as group."""
    parts = Formatter().parse(template)
    return ''.join(re.escape(text) + (r'(\d+)' if field is not None else '') for text, field, _, _ in parts)


def _files(folder: str) -> list[str]:
    return [osp.join(folder, name) for name in os.listdir(folder)] if osp.isdir(folder) else []
