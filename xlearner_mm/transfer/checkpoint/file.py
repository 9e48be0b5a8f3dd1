"""Which file is meant, and which bytes it holds."""

from __future__ import annotations

import hashlib
import os.path as osp
from glob import escape, glob

from mmengine.fileio import exists
from mmengine.fileio import get as read_bytes

from xlearner_mm.transfer.checkpoint.download import local_copy
from xlearner_mm.transfer.checkpoint.error import CheckpointError

WHICH = ('last', 'best')


def resolve_checkpoint(path: str, which: str = 'last') -> str:
    """Return the file meant: of a work directory, its last or its best checkpoint.

    Args:
        path: a file, a work directory, or an address: of torchvision's or OpenMMLab's published models, or one that
            mmengine's file clients read.
        which: of a work directory, ``'last'``: the one that ``last_checkpoint`` points to; ``'best'``: the
            ``best_*.pth`` that CheckpointHook keeps with ``save_best``. Defaults to ``'last'``.

    Raises:
        CheckpointError: there is none, there is more than one best, or ``'best'`` of a file.
        ValueError: an unknown choice.
    """
    if which not in WHICH:
        raise ValueError(f"which checkpoint: unknown '{which}', choose from {WHICH}")
    if osp.isdir(path):
        path = _last_of(path) if which == 'last' else _best_of(path)
    elif which != 'last':
        raise CheckpointError(f"{path} is no work directory, of which the '{which}' checkpoint could be taken")
    path = local_copy(path)
    if not exists(path):
        raise CheckpointError(f'checkpoint {path} does not exist; run the stage that writes it, or correct the path')
    return path


def _last_of(work_dir: str) -> str:
    pointed = pointed_checkpoint(work_dir)
    if pointed is None:
        raise CheckpointError(f'{work_dir} holds no last_checkpoint that names one: no training has saved there')
    return pointed


def pointed_checkpoint(work_dir: str, folder: str | None = None) -> str | None:
    """Return the file that a work directory's ``last_checkpoint`` names, whether or not it is there; None without one.

    The pointer holds the path at the time of saving: the directory may have been copied or moved since, and its own
    file is meant.

    Args:
        work_dir: of a training.
        folder: where that training has its checkpoints. Defaults to None: in ``work_dir``.
    """
    pointer = osp.join(work_dir, 'last_checkpoint')
    if not osp.isfile(pointer):
        return None
    with open(pointer, encoding='utf-8', errors='replace') as file:
        named = file.read().strip()
    if not named:
        return None
    own = osp.join(folder or work_dir, osp.basename(named))
    return own if osp.isfile(own) or not exists(named) else named


def _best_of(work_dir: str) -> str:
    found = sorted(glob(osp.join(escape(work_dir), 'best_*.pth')))
    if not found:
        raise CheckpointError(
            f'{work_dir} holds no best_*.pth: train with save_best in default_hooks.checkpoint, or take the last one'
        )
    if len(found) > 1:
        names = [osp.basename(path) for path in found]
        raise CheckpointError(f'{work_dir} holds the best by several metrics, {names}: name the file')
    return found[0]


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a checkpoint file: a squeeze records that of its teacher."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
