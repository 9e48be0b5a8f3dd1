"""Strict and safe reading of checkpoints."""

from __future__ import annotations

import hashlib
import os.path as osp
import pickle
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from mmengine.fileio import exists
from mmengine.fileio import get as read_bytes
from torch import Tensor, nn

State = Mapping[str, Tensor]

# Where backbones are found in checkpoints, most specific first: a squeeze checkpoint holds a student, a
# training checkpoint of a stock network a backbone, an export nothing around it.
_PREFIXES = ('student.', 'backbone.', '')
_WRAPPERS = ('module.', '_orig_mod.')


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, what was found and what was expected."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint on the CPU without executing anything in it.

    Args:
        path: a file, a work directory (its last checkpoint is taken), or an address that mmengine's file clients read.

    Raises:
        CheckpointError: missing, damaged, or a file that would have to be executed to be read.
    """
    path = resolve_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_mmengine_state_types()):
            content = torch.load(BytesIO(read_bytes(path)), map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'checkpoint {path} is refused: reading it would execute code, or it is no checkpoint at all; save '
            'its state_dict alone where it was trained'
        ) from error
    except Exception as error:
        # A file of another kind fails in whatever way the unpickler meets its bytes.
        reason = next(iter(str(error).splitlines()), '') or type(error).__name__
        raise CheckpointError(
            f'checkpoint {path} is damaged or no checkpoint: {reason}; copy or save it again'
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(content).__name__}, expected a dict of tensors')
    return content


def resolve_checkpoint(path: str) -> str:
    """Return the file meant: of a work directory, its last checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    if osp.isdir(path):
        pointer = osp.join(path, 'last_checkpoint')
        if not osp.isfile(pointer):
            raise CheckpointError(f'{path} holds no last_checkpoint: no training has saved there')
        with open(pointer, encoding='utf-8') as file:
            named = file.read().strip()
        # The pointer holds the path at the time of saving; the directory may have been moved since.
        path = named if exists(named) else osp.join(path, osp.basename(named))
    if not exists(path):
        raise CheckpointError(f'checkpoint {path} does not exist; run the stage that writes it, or correct the path')
    return path


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a checkpoint file: a squeeze records that of its teacher."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _mmengine_state_types() -> list:
    """Plain-data types in mmengine's training checkpoints (its message hub's histories)."""
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    def statistics_method(owner: type, name: str) -> Any:
        # Histories refer to their own methods by `getattr`, which is not given to files as it is.
        if owner is not HistoryBuffer or name.startswith('_'):
            raise pickle.UnpicklingError(f'{name} of {owner} is not plain data')
        return getattr(owner, name)

    numpy_core = getattr(np, '_core', None) or np.core
    dtypes = [type(np.dtype(kind)) for kind in ('f4', 'f8', 'i4', 'i8', 'u4', 'u8', '?')]
    return [
        HistoryBuffer,
        (statistics_method, 'builtins.getattr'),
        numpy_core.multiarray._reconstruct,
        numpy_core.multiarray.scalar,
        np.ndarray,
        np.dtype,
        *dtypes,
    ]


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without the names that wrappers put before theirs."""
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    state = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    for wrapper in _WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            state = {key[len(wrapper) :]: value for key, value in state.items()}
    return state


def backbone_state(state: State, module: nn.Module, prefix: str | None = None) -> dict[str, Tensor]:
    """Pick a backbone's own weights out of a checkpoint's.

    Args:
        state: weights of anything that holds the backbone.
        module: the backbone they are for.
        prefix: where the backbone is in ``state``, e.g. ``'backbone.branches.det.backbone'``. Defaults to None: found
            by itself in exports, squeeze checkpoints and training checkpoints of stock networks.
    """
    prefixes = _PREFIXES if prefix is None else (prefix.rstrip('.') + '.',)
    wanted = module.state_dict().keys()
    for candidate in prefixes:
        if any(candidate + key in state for key in wanted):
            return {key[len(candidate) :]: value for key, value in state.items() if key.startswith(candidate)}
    return {}


def load_backbone(module: nn.Module, path: str, prefix: str | None = None, strict: bool = True) -> None:
    """Load a backbone from any checkpoint that holds one.

    Args:
        module: the backbone.
        path: an export, a squeeze checkpoint, or a training checkpoint, as it is.
        prefix: where the backbone is in it. Defaults to None: found by itself.
        strict: raise when a parameter or statistic of the backbone is not in the checkpoint. Defaults to True.

    Raises:
        CheckpointError: unreadable, of another shape, or (``strict``) leaving something at its random start.
    """
    content = state_dict_of(read_checkpoint(path))
    state = backbone_state(content, module, prefix)
    _check_holds_it(state, content, module, path)
    own_modules = {key.split('.')[0] for key in module.state_dict()}
    # A classifier's or detector's head beside the backbone is no fault; a deeper backbone's block is.
    state = {key: value for key, value in state.items() if key.split('.')[0] in own_modules}
    if strict:
        load_strictly(module, state, f'checkpoint {path}')
    else:
        _check_shapes(module, state, f'checkpoint {path}')
        module.load_state_dict(state, strict=False)


def _check_holds_it(state: State, content: State, module: nn.Module, path: str) -> None:
    if state:
        return
    branches = sorted({key.split('.')[2] for key in content if key.startswith('backbone.branches.')})
    if branches:
        raise CheckpointError(
            f'checkpoint {path} holds the branches {branches} of an expansion stage: export one, or name it by '
            f"prefix='backbone.branches.{branches[0]}.backbone'"
        )
    raise CheckpointError(f'checkpoint {path} holds nothing of a {type(module).__name__}')


def load_strictly(module: nn.Module, state: State, what: str) -> None:
    """Load ``state``, all of it and nothing else; arguments and errors as :func:`check_fits`."""
    check_fits(module, state, what)
    module.load_state_dict(dict(state), strict=False)


def check_fits(module: nn.Module, state: State, what: str) -> None:
    """Check that ``state`` is all of a module's state and nothing else.

    Args:
        module: what it is for.
        state: the weights.
        what: name of their origin, for messages.

    Raises:
        CheckpointError: keys missing or left over, or shapes that differ; lists them.
    """
    _check_shapes(module, state, what)
    own = {key for key in module.state_dict() if not key.endswith('num_batches_tracked')}
    missing = sorted(own - set(state))
    left_over = sorted(set(state) - set(module.state_dict()))
    if missing or left_over:
        raise CheckpointError(
            f'{what} does not fit {type(module).__name__}: '
            f'{_listed("missing", missing)}{_listed("not of this model", left_over)}'
            'give the checkpoint of this very architecture'
        )


def _check_shapes(module: nn.Module, state: State, what: str) -> None:
    own = module.state_dict()
    differing = [
        f'{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if differing:
        raise CheckpointError(
            f'{what} is of another shape than {type(module).__name__}: '
            f'{_listed("differing", differing)}check depth, base_channels and stem_channels'
        )


def _listed(label: str, keys: list[str], most: int = 8) -> str:
    if not keys:
        return ''
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return f'{len(keys)} {label}: {"; ".join(keys[:most])}{more}. '
