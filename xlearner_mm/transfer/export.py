"""The plain backbone out of a stage's checkpoint, as a file of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xlearner_mm.transfer.checkpoint import CheckpointError, read_checkpoint, resolve_checkpoint, state_dict_of
from xlearner_mm.version import __version__


def export_backbone(checkpoint: str, out: str | Path, branch: str | None = None) -> dict[str, Any]:
    """Write a checkpoint's backbone as an mm ``.pth``: bare keys, metadata as plain data.

    Args:
        checkpoint: a checkpoint of either stage, or the work directory whose last one is taken.
        out: the file to write.
        branch: for an expansion checkpoint, the branch to export. Defaults to None: its only one.

    Returns:
        The metadata written beside the weights.

    Raises:
        CheckpointError: no checkpoint of a stage, or a branch that it does not have.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    # StageMetaHook's key; importing the hook would need the whole of mmengine's runner.
    stage = (content.get('meta') or {}).get('xlearner') or {}
    if not {'stage', 'backbone', 'sources', 'normalisation'} <= set(stage):
        raise CheckpointError(
            f'checkpoint {path} does not say which stage it is of: it is an export already, or was trained without '
            'StageMetaHook in custom_hooks'
        )
    prefix, backbone = _locate(stage, branch, path)
    state = {
        key.removeprefix(prefix): value.contiguous()
        for key, value in state_dict_of(content).items()
        if key.startswith(prefix)
    }
    if not state:
        raise CheckpointError(f'checkpoint {path} holds no weights below {prefix}')
    meta = {
        'stage': stage['stage'],
        'backbone': {key: value for key, value in backbone.items() if key != 'init_cfg'},
        'sources': stage['sources'],
        'normalisation': stage['normalisation'],
        'exported_from': os.path.basename(path),
        'xlearner_mm_version': __version__,
    }
    _write({'state_dict': state, 'meta': meta}, Path(out))
    return meta


def _locate(stage: Mapping[str, Any], branch: str | None, path: str) -> tuple[str, Mapping[str, Any]]:
    """Return the key prefix and the config of the backbone to export."""
    if stage['stage'] == 'squeeze':
        if branch is not None:
            raise CheckpointError(f'checkpoint {path} is of the squeeze stage: it has a student, not branches')
        return 'student.', stage['backbone']
    branches = stage['backbone']['branches']
    if branch is None and len(branches) > 1:
        raise CheckpointError(
            f'checkpoint {path} is of the expansion stage with branches {sorted(branches)}: name the one to export, '
            'or squeeze them first'
        )
    branch = branch or next(iter(branches))
    if branch not in branches:
        raise CheckpointError(f"checkpoint {path} has no branch '{branch}', but {sorted(branches)}")
    return f'backbone.branches.{branch}.backbone.', branches[branch]


def _write(content: dict[str, Any], out: Path) -> None:
    """Write aside and rename: a file of that name is always whole."""
    aside = out.with_name(out.name + '.part')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, aside)
        os.replace(aside, out)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        raise CheckpointError(f'{out} cannot be written: {error}') from error
