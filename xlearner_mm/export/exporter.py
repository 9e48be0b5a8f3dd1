"""From a checkpoint to a file in the format that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint import sha256_of
from xlearner_mm.checkpoint.reading import SAFETENSORS, SIDECAR_SUFFIX, safetensors_bytes
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.formats import probe_images, timm_state, torchvision_state, write_onnx
from xlearner_mm.export.stored_backbone import StoredBackbone, find_backbone

_PICKLED = ('.pth', '.pt')
FORMATS = {
    'mm': _PICKLED,
    'torchvision': (*_PICKLED, '.safetensors'),
    'timm': (*_PICKLED, '.safetensors'),
    'safetensors': ('.safetensors',),
    'onnx': ('.onnx',),
}
"""Formats, and how their files may be named."""

_BY_SUFFIX = {'.safetensors': 'safetensors', '.onnx': 'onnx'}


def export_backbone(
    checkpoint: str,
    out: str | Path,
    branch: str | None = None,
    *,
    format: str | None = None,
    expanded: bool = False,
    which: str = 'last',
    ema: bool | None = None,
) -> dict[str, Any]:
    """Write a checkpoint's backbone to a file of its own, with what is known of it as plain data.

    | ``format`` | file | read by |
    |---|---|---|
    | ``mm`` | ``dict(state_dict=..., meta=...)`` | ``init_cfg=dict(type='Pretrained', checkpoint=...)`` |
    | ``torchvision`` | weights; metadata in ``<out>.json`` | ``torchvision.models.resnet50`` with ``fc=Identity()`` |
    | ``timm`` | weights; metadata in ``<out>.json`` | ``timm.create_model('resnet50', num_classes=0)`` |
    | ``safetensors`` | weights with metadata | whatever reads safetensors; everything here that takes a checkpoint |
    | ``onnx`` | graph with ``metadata_props`` | onnxruntime and others, any batch and image size |

    The metadata: stage, settings of the backbone, branch, tasks, sources, input normalization, channels and strides,
    the checkpoint's name, hash, iterations and date, whether its weights are the moving average, the squeeze's
    teacher with its hash, the format, the version and the date of this export.

    Args:
        checkpoint: a checkpoint of either stage, an export, or a work directory.
        out: the file to write.
        branch: for an expansion checkpoint, the branch to export. Defaults to None: its only one.
        format: one of :data:`FORMATS`. Defaults to None: by the name of ``out``.
        expanded: export the whole expanded backbone (X-Learner_r, _p), for ``type='XLearnerExpandedBackbone'``.
            Defaults to False.
        which: of a work directory, the ``'last'`` or the ``'best'`` checkpoint. Defaults to ``'last'``.
        ema: True: the moving average of the weights; False: the model's own; None: what the checkpoint's
            ``state_dict`` holds, the average where one was kept. Defaults to None.

    Returns:
        The metadata written beside the weights.

    Raises:
        CheckpointError: no checkpoint of a stage, a branch or an average that it does not have, or an architecture
            that the format cannot hold.
    """
    out = Path(out)
    format = _format_of(out, format)
    stored = find_backbone(checkpoint, branch, expanded, which, ema)
    backbone = stored.build()
    meta = {**stored.meta, **_measured(backbone), 'date': datetime.now(timezone.utc).isoformat(timespec='seconds')}
    return _write(stored, backbone, meta, format, out)


def _write(stored: StoredBackbone, backbone: nn.Module, meta: dict[str, Any], format: str, out: Path) -> dict[str, Any]:
    # Stored tensors may be views of larger ones, which would be written along with them.
    stored = StoredBackbone(stored.path, stored.config, {k: v.clone() for k, v in stored.state.items()}, stored.meta)
    if format in ('torchvision', 'timm'):
        state, how = torchvision_state(stored) if format == 'torchvision' else timm_state(stored)
        meta = {**meta, 'format': how}
        write_bare(state, meta, out)
        return meta
    meta = {**meta, 'format': {'name': format}}
    if format == 'onnx':
        write_whole(out, lambda path: write_onnx(backbone, path, meta))
    else:
        (write_mm if format == 'mm' else write_safetensors)(stored.state, meta, out)
    return meta


def _format_of(out: Path, format: str | None) -> str:
    if format is None:
        format = _BY_SUFFIX.get(out.suffix, 'mm')
    if format not in FORMATS:
        raise CheckpointError(f"unknown format '{format}', choose from {sorted(FORMATS)}")
    if out.suffix not in FORMATS[format]:
        raise CheckpointError(f'{out}: name a file of format {format} *{" or *".join(FORMATS[format])}')
    return format


@torch.no_grad()
def _measured(backbone: nn.Module) -> dict[str, list[int]]:
    images = probe_images()
    levels = backbone(images)
    return {
        'channels': [level.shape[1] for level in levels],
        'strides': [images.shape[-1] // level.shape[-1] for level in levels],
    }


State = Mapping[str, Tensor]


def write_whole(out: Path, write: Callable[[Path], None]) -> None:
    """Write a file aside and rename it: a file of that name is always whole.

    Raises:
        CheckpointError: the disk is full, or the place cannot be written to.
    """
    try:
        with atomic_write(out) as aside:
            write(Path(aside))
    except (OSError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f'{out} cannot be written: {error}') from error


def write_mm(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write ``dict(state_dict=..., meta=...)``, as OpenMMLab's libraries read it."""
    write_whole(out, lambda path: torch.save({'state_dict': dict(state), 'meta': dict(meta)}, path))


def write_safetensors(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write safetensors, the metadata as JSON under ``xlearner`` in its own metadata."""
    write_whole(out, lambda path: _write_bytes(path, safetensors_bytes(state, meta)))


def write_bare(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write weights alone, which other libraries load as they are; safetensors where ``out`` is named so.

    ``model.load_state_dict(torch.load('backbone.pth', weights_only=True))`` is then all there is to do. The metadata
    of a ``.pth`` is in ``<out>.json``, together with the SHA-256 of the weights it belongs to.
    """
    if out.suffix == SAFETENSORS:
        write_safetensors(state, meta, out)
        return
    write_whole(out, lambda path: torch.save(dict(state), path))
    described = {**meta, 'sha256': sha256_of(str(out))}
    beside = out.with_name(out.name + SIDECAR_SUFFIX)
    write_whole(beside, lambda path: _write_bytes(path, json.dumps(described, indent=1).encode()))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
