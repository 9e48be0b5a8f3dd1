"""Write a checkpoint's backbone to a file in a chosen format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint import State, sha256_of
from xlearner_mm.checkpoint.reading import SAFETENSORS, SIDECAR_SUFFIX, safetensors_bytes
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.formats import probe_images, timm_state, torchvision_state, write_onnx
from xlearner_mm.export.stored_backbone import find_backbone

_PICKLED = ('.pth', '.pt')
FORMATS = {
    'mm': _PICKLED,
    'torchvision': (*_PICKLED, '.safetensors'),
    'timm': (*_PICKLED, '.safetensors'),
    'safetensors': ('.safetensors',),
    'onnx': ('.onnx',),
}
"""Formats and their file suffixes."""


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
    """Write a checkpoint's backbone to a file of its own, with metadata as plain data.

    | ``format`` | file | read by |
    |---|---|---|
    | ``mm`` | ``dict(state_dict=..., meta=...)`` | ``init_cfg=dict(type='Pretrained', checkpoint=...)`` |
    | ``torchvision`` | weights; metadata in ``<out>.json`` | ``torchvision.models.resnet50`` with ``fc=Identity()`` |
    | ``timm`` | weights; metadata in ``<out>.json`` | ``timm.create_model('resnet50', num_classes=0)`` |
    | ``safetensors`` | weights with metadata | any reader of safetensors; everything here that takes a checkpoint |
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
        ema: True: the moving average of the weights; False: the model's own; None: those in ``state_dict``, the
            average where one was kept. Defaults to None.

    Returns:
        The metadata.

    Raises:
        CheckpointError: the checkpoint is of no stage, lacks the branch or average, or has an architecture that the
            format cannot hold; or the file cannot be written.
    """
    out = Path(out)
    if format is None:
        format = {'.safetensors': 'safetensors', '.onnx': 'onnx'}.get(out.suffix, 'mm')
    if format not in FORMATS:
        raise CheckpointError(f"unknown format '{format}', choose from {sorted(FORMATS)}")
    if out.suffix not in FORMATS[format]:
        raise CheckpointError(f'{out}: name a file of format {format} *{" or *".join(FORMATS[format])}')
    stored = find_backbone(checkpoint, branch, expanded, which, ema)
    backbone, images = stored.build(), probe_images()
    with torch.no_grad():
        levels = backbone(images)
    meta: dict[str, Any] = {
        **stored.meta,
        'channels': [level.shape[1] for level in levels],
        'strides': [images.shape[-1] // level.shape[-1] for level in levels],
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'format': {'name': format},
    }
    # Stored tensors may be views of larger ones, which would be written along with them.
    state: State = {key: value.clone() for key, value in stored.state.items()}
    if format in ('torchvision', 'timm'):
        state, meta['format'] = torchvision_state(stored) if format == 'torchvision' else timm_state(stored)
        _write_bare({key: value.clone() for key, value in state.items()}, meta, out)
    elif format == 'onnx':
        _write(out, lambda path: write_onnx(backbone, path, meta))
    elif format == 'safetensors':
        _write(out, lambda path: path.write_bytes(safetensors_bytes(state, meta)))
    else:
        _write(out, lambda path: torch.save({'state_dict': state, 'meta': meta}, path))
    return meta


def _write(out: Path, write: Callable[[Path], object]) -> None:
    try:
        with atomic_write(out) as partial:
            write(Path(partial))
    except CheckpointError:
        raise
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f'{out} cannot be written: {error}') from error


def _write_bare(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write weights alone, which other libraries load directly; safetensors where ``out`` has that suffix.

    The metadata of a ``.pth`` is in ``<out>.json``, together with the SHA-256 of the weights.
    """
    if out.suffix == SAFETENSORS:
        _write(out, lambda path: path.write_bytes(safetensors_bytes(state, meta)))
        return
    _write(out, lambda path: torch.save(dict(state), path))
    described = json.dumps({**meta, 'sha256': sha256_of(str(out))}, indent=1)
    _write(out.with_name(out.name + SIDECAR_SUFFIX), lambda path: path.write_text(described))
