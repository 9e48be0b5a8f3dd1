"""Checkpoint reading: any file, without executing anything in it."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape, glob
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import torch
from mmengine.fileio import exists
from mmengine.fileio import get as read_bytes
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_torchvision_models,
)
from torch import Tensor

from xlearner_mm.checkpoint.metadata import META_KEY
from xlearner_mm.errors import CheckpointError, ConfigError

SAFETENSORS = '.safetensors'
SIDECAR_SUFFIX = '.json'
"""Metadata of bare weights are in ``<name>.json`` beside them, with the weights' SHA-256."""

PUBLISHED = 'model.safetensors'
"""The weights in a folder with a model card."""
WHICH = ('last', 'best')
_ZIP = b'PK\x03\x04'
_LENGTH_BYTES = 8  # of a safetensors file: the length of its JSON header
_TORCHVISION, _OPENMMLAB = ('torchvision', 'modelzoo'), ('open-mmlab', 'openmmlab')
# torch.hub: eight or more digits of the content's SHA-256.
_HASH_IN_NAME = re.compile(r'-([a-f0-9]{8,})\.')


def read_checkpoint(path: str, which: str = 'last') -> dict[str, Any]:
    """Read a checkpoint on the CPU without executing anything in it.

    Args:
        path: a ``.pth`` or safetensors file, a work directory, or an address, see :func:`resolve_checkpoint`.
        which: of a work directory, ``'last'`` or ``'best'``. Defaults to ``'last'``.

    Returns:
        The file's content. Of safetensors and of exported bare weights: ``state_dict`` and ``meta``.

    Raises:
        CheckpointError: missing, damaged, or readable only by executing it.
    """
    path = resolve_checkpoint(path, which)
    data = read_bytes(path)
    if path.endswith(SAFETENSORS) or data[_LENGTH_BYTES : _LENGTH_BYTES + 2] == b'{"':
        return _parse_safetensors(path, data)
    _check_undamaged(path, data)
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
            f'checkpoint {path} is refused: reading it would execute code, or it is no checkpoint; save only its '
            'state_dict where it was trained'
        ) from error
    except Exception as error:
        # Files of another kind fail anywhere in the unpickler; torch's own message advises to execute them.
        raise CheckpointError(
            f'checkpoint {path} is damaged, or of another kind, such as a TorchScript archive: copy it again, or save '
            'its state_dict'
        ) from error


def _sidecar(path: str, data: bytes) -> dict[str, Any]:
    beside = path + SIDECAR_SUFFIX
    try:
        meta = json.loads(read_bytes(beside))
    except ValueError as error:
        raise CheckpointError(f'{beside} is not JSON ({error}): export {path} again') from error
    if not isinstance(meta, dict) or meta.pop('sha256', None) != hashlib.sha256(data).hexdigest():
        raise CheckpointError(f'{beside} describes other weights than those in {path}: export again, or remove it')
    return meta


def resolve_checkpoint(path: str, which: str = 'last') -> str:
    """Return a checkpoint's file: of a work directory, its last or best checkpoint; of an address, a local copy.

    Args:
        path: a file, a work directory, a folder with a model card, or an address: ``torchvision://NAME``,
            ``open-mmlab://NAME``, http, or one that mmengine's file clients read.
        which: of a work directory, ``'last'``: the file in ``last_checkpoint``; ``'best'``: the ``best_*.pth`` that
            CheckpointHook keeps with ``save_best``. Defaults to ``'last'``.

    Raises:
        CheckpointError: there is none, there is more than one best, or ``'best'`` of a file.
        ConfigError: an unknown choice.
    """
    if which not in WHICH:
        raise ConfigError(f"which checkpoint: unknown '{which}', choose from {WHICH}")
    if osp.isdir(path):
        path = _last_of(path) if which == 'last' else _best_of(path)
    elif which != 'last':
        raise CheckpointError(f"{path} is no work directory, of which the '{which}' checkpoint could be taken")
    path = _local_copy(path)
    if not exists(path):
        raise CheckpointError(f'checkpoint {path} does not exist; run the stage that writes it, or correct the path')
    return path


def _last_of(work_dir: str) -> str:
    pointed = pointed_checkpoint(work_dir)
    published = osp.join(work_dir, PUBLISHED)
    if pointed is None and osp.isfile(published):
        return published
    if pointed is None:
        raise CheckpointError(f'{work_dir} holds no last_checkpoint that names one: no training has saved there')
    return pointed


def pointed_checkpoint(work_dir: str, folder: str | None = None) -> str | None:
    """Return the file that a work directory's ``last_checkpoint`` names, existing or not; None without one.

    The pointer holds the path at the time of saving. In a directory that was copied or moved since, its own file is
    returned.

    Args:
        work_dir: of a training.
        folder: where that training stores its checkpoints. Defaults to None: in ``work_dir``.
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
    """Return the SHA-256 of a checkpoint file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _local_copy(address: str) -> str:
    """Return the file of a published model, downloaded to torch's cache unless it is there; a path unchanged.

    An address whose file name has no hash gets a folder of its own there: files of many addresses have the same name.
    """
    scheme, _, name = address.partition('://')
    plain = scheme in ('http', 'https')
    if plain:
        url = address
    elif scheme in (*_TORCHVISION, *_OPENMMLAB):
        urls = get_torchvision_models() if scheme in _TORCHVISION else get_external_models()
        name = name if scheme in _TORCHVISION else get_deprecated_model_names().get(name, name)
        if name not in urls:
            raise CheckpointError(f'checkpoint {address}: MMEngine knows no model of that name')
        url = urls[name]
    else:
        return address
    folder, file = osp.join(torch.hub.get_dir(), 'checkpoints'), osp.basename(url.split('?')[0])
    hash_in_name = _HASH_IN_NAME.search(file)
    if plain and hash_in_name is None:
        folder = osp.join(folder, hashlib.sha256(url.encode()).hexdigest()[:16])
    path = osp.join(folder, file)
    if not osp.isfile(path):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path, hash_in_name[1] if hash_in_name else None, progress=False)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f'checkpoint {address} cannot be fetched from {url}: {error}; put the file at {path}'
            ) from error
    return path


def _check_undamaged(path: str, data: bytes) -> None:
    """Compare every record with its CRC-32: ``torch.load`` reads flipped bits as weights. Before torch 1.6: none."""
    if not data.startswith(_ZIP):
        return
    try:
        with ZipFile(BytesIO(data)) as archive:
            broken = archive.testzip()
    except Exception as error:  # damaged files fail anywhere in zipfile
        raise CheckpointError(f'checkpoint {path} is damaged: {error}; copy or save it again') from error
    if broken is not None:
        raise CheckpointError(
            f'checkpoint {path} is damaged: its record {broken} has changed since it was written; copy or save it again'
        )


def _parse_safetensors(path: str, data: bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], 'little')
        strings = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length]).get('__metadata__', {})
        meta = json.loads(strings.get(META_KEY, '{}'))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f'checkpoint {path} is damaged or no safetensors: {error}; copy or save it again'
        ) from error
    return {'state_dict': state, 'meta': meta}


def safetensors_bytes(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Return weights and metadata, which is plain data, as a safetensors file."""
    from safetensors.torch import save

    # Its metadata maps strings to strings; other libraries look for 'format'.
    return save(dict(state), metadata={'format': 'pt', META_KEY: json.dumps(meta)})


def mmengine_state_types() -> list:
    """Return the plain-data types in mmengine's training checkpoints (its message hub's histories)."""
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    def statistics_method(owner: type, name: str) -> Any:
        # Histories refer to their own methods by `getattr`; files get no other use of it.
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


# Importing the package twice, as under two names, must be harmless: `force`.
@CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$', force=True)
def load_for_mmengine(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint for MMEngine, on the CPU whatever ``map_location`` is; see :func:`read_checkpoint`."""
    return read_checkpoint(filename)


@contextmanager
def nothing_executed() -> Iterator[None]:
    """Make MMEngine read all checkpoints by :func:`read_checkpoint` meanwhile.

    For stock modules with a checkpoint of their own, MMEngine falls back to executing pickles. Outside of this
    package's trainings and models it is left unchanged: others may count on it.
    """
    schemes = CheckpointLoader._schemes
    CheckpointLoader._schemes = {'': load_for_mmengine}
    try:
        yield
    finally:
        CheckpointLoader._schemes = schemes
