"""Checkpoints that stock configs name by an address: fetched as MMEngine and torch do, read as strictly as any."""

from __future__ import annotations

import os
import os.path as osp

import torch
from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_torchvision_models

from xlearner_mm.transfer.checkpoint.error import CheckpointError

_TORCHVISION = ('torchvision', 'modelzoo')
_OPENMMLAB = ('open-mmlab', 'openmmlab')


def local_copy(address: str) -> str:
    """Return a file that holds what an address names, from torch's cache of checkpoints where it is there already.

    Args:
        address: ``torchvision://NAME``, ``open-mmlab://NAME``, or one of http; anything else is returned as it is.

    Raises:
        CheckpointError: an unknown name, or it cannot be fetched.
    """
    scheme, _, name = address.partition('://')
    if scheme in ('http', 'https'):
        url = address
    elif scheme in (*_TORCHVISION, *_OPENMMLAB):
        url = _url_of(scheme, name, address)
    else:
        return address
    folder = osp.join(torch.hub.get_dir(), 'checkpoints')
    path = osp.join(folder, osp.basename(url.split('?')[0]))
    if not osp.isfile(path):
        os.makedirs(folder, exist_ok=True)
        hash_in_name = torch.hub.HASH_REGEX.search(osp.basename(path))
        try:
            torch.hub.download_url_to_file(url, path, hash_in_name[1] if hash_in_name else None, progress=False)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f'checkpoint {address} cannot be fetched from {url}: {error}; put the file at {path}'
            ) from error
    return path


def _url_of(scheme: str, name: str, address: str) -> str:
    if scheme in _TORCHVISION:
        urls = get_torchvision_models()
    else:
        urls, name = get_external_models(), get_deprecated_model_names().get(name, name)
    if name not in urls:
        raise CheckpointError(f'checkpoint {address}: MMEngine knows no model of that name')
    return urls[name]
