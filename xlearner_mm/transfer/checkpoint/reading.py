"""Reading checkpoints of every kind without executing anything in them."""

from __future__ import annotations

import hashlib
import json
import pickle
from io import BytesIO
from typing import Any

import torch
from mmengine.fileio import exists
from mmengine.fileio import get as read_bytes
from torch import Tensor

from xlearner_mm.transfer.checkpoint.error import CheckpointError
from xlearner_mm.transfer.checkpoint.file import resolve_checkpoint
from xlearner_mm.transfer.checkpoint.integrity import check_undamaged
from xlearner_mm.transfer.checkpoint.safetensors_file import is_safetensors, parse_safetensors
from xlearner_mm.transfer.checkpoint.trusted_types import mmengine_state_types

SIDECAR_SUFFIX = '.json'
"""A file of bare weights has its metadata beside it, in ``<name>.json``, with the weights' SHA-256."""


def read_checkpoint(path: str, which: str = 'last') -> dict[str, Any]:
    """Read a checkpoint on the CPU without executing anything in it.

    Args:
        path: a ``.pth`` or safetensors file, a work directory, or an address that mmengine's file clients read.
        which: of a work directory, ``'last'`` or ``'best'``. Defaults to ``'last'``.

    Returns:
        What the file holds. Of safetensors and of exported bare weights: ``state_dict`` and ``meta``.

    Raises:
        CheckpointError: missing, damaged, or a file that would have to be executed to be read.
    """
    path = resolve_checkpoint(path, which)
    data = read_bytes(path)
    if is_safetensors(path, data):
        return parse_safetensors(path, data)
    check_undamaged(path, data)
    content = _unpickle(path, data)
    if not isinstance(content, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(content).__name__}, expected a dict of tensors')
    bare = bool(content) and all(isinstance(value, Tensor) for value in content.values())
    if bare and exists(path + SIDECAR_SUFFIX):
        return {'state_dict': content, 'meta': _sidecar(path, data)}
    return content


def _unpickle(path: str, data: bytes) -> Any:
    try:
        with torch.serialization.safe_globals(mmengine_state_types()):
            return torch.load(BytesIO(data), map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'checkpoint {path} is refused: reading it would execute code, or it is no checkpoint at all; save '
            'its state_dict alone where it was trained'
        ) from error
    except Exception as error:
        # A file of another kind fails in whatever way the unpickler meets its bytes; torch's own words advise to
        # execute what is in them.
        raise CheckpointError(
            f'checkpoint {path} is damaged, or of another kind, as a TorchScript archive: copy it again, or save its '
            'state_dict'
        ) from error


def _sidecar(path: str, data: bytes) -> dict[str, Any]:
    beside = path + SIDECAR_SUFFIX
    try:
        meta = json.loads(read_bytes(beside))
    except ValueError as error:
        raise CheckpointError(f'{beside} is no JSON ({error}): export {path} again') from error
    if not isinstance(meta, dict) or meta.pop('sha256', None) != hashlib.sha256(data).hexdigest():
        raise CheckpointError(f'{beside} describes other weights than those in {path}: export again, or remove it')
    return meta
