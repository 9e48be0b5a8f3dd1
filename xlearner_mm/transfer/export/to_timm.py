"""For timm's ``resnet50`` and its like, with ``num_classes=0``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.transfer.checkpoint import load_strictly
from xlearner_mm.transfer.checkpoint.stem import flat_name
from xlearner_mm.transfer.checkpoint.timm_stem import to_timm
from xlearner_mm.transfer.export.packages import require
from xlearner_mm.transfer.export.plain_resnet import PlainResNet, levels_of, plain_resnet_of, refuse_widths
from xlearner_mm.transfer.export.verification import check_same_features, probe_images
from xlearner_mm.transfer.stored_backbone import StoredBackbone

TOLERANCE = 1e-5


@torch.no_grad()
def timm_state(stored: StoredBackbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights under timm's keys, and how the model that takes them is built.

    ``timm.create_model(model, **kwargs)``: of another width with ``channels``, with a deep stem as ``resnet50d``, or
    with ``stem_type='deep'`` where only the stem is deep.

    Args:
        stored: a ResNet with ``style='pytorch'``; without a deep stem, ``stem_channels`` must be 64.

    Raises:
        CheckpointError: another architecture, by name; timm is not installed; or its features differ.
    """
    timm = require('timm')
    resnet = plain_resnet_of(stored, 'timm')
    if not resnet.deep_stem:
        refuse_widths(stored, 'timm', resnet, {'stem_channels': 64})
    name, kwargs = _how_to_build(resnet)
    model = timm.create_model(name, **kwargs)
    state = _renamed(stored.state, resnet)
    load_strictly(model, state, f'the backbone of {stored.path} in timm {name}')
    images = probe_images()
    ours = stored.build(out_indices=[0, 1, 2, 3])(images)
    check_same_features(ours, levels_of(model.eval(), images), f'timm {name}', TOLERANCE)
    return state, {'name': 'timm', 'model': name, 'kwargs': kwargs}


def _how_to_build(resnet: PlainResNet) -> tuple[str, dict[str, Any]]:
    kwargs: dict[str, Any] = {'num_classes': 0}
    name = f'resnet{resnet.depth}'
    if resnet.deep_stem and resnet.avg_down:
        name += 'd'
    elif resnet.deep_stem:
        kwargs['stem_type'] = 'deep'
    elif resnet.avg_down:
        kwargs['avg_down'] = True
    if resnet.deep_stem and (resnet.stem_channels != 64 or not resnet.avg_down):
        kwargs['stem_width'] = resnet.stem_channels // 2
    if resnet.base_channels != 64:
        kwargs['channels'] = [resnet.base_channels * 2**level for level in range(4)]
    return name, kwargs


def _renamed(state: Mapping[str, Tensor], resnet: PlainResNet) -> dict[str, Tensor]:
    renamed = {to_timm(flat_name(key)): value for key, value in state.items()}
    shortcut = 'layer1.0.downsample.'
    if resnet.avg_down and f'{shortcut}0.weight' in state:
        # mmpretrain leaves out the pooling of a shortcut that keeps the size; the others have a place for it.
        for index in (1, 0):
            for key in [key for key in renamed if key.startswith(f'{shortcut}{index}.')]:
                renamed[key.replace(f'{shortcut}{index}.', f'{shortcut}{index + 1}.')] = renamed.pop(key)
    return renamed
