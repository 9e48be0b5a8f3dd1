"""For ``torchvision.models.resnet50`` and its like, without their classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xlearner_mm.transfer.checkpoint import load_strictly
from xlearner_mm.transfer.export.plain_resnet import levels_of, plain_resnet_of, refuse_widths
from xlearner_mm.transfer.export.verification import check_same_features, probe_images
from xlearner_mm.transfer.stored_backbone import StoredBackbone

TOLERANCE = 1e-5


@torch.no_grad()
def torchvision_state(stored: StoredBackbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights under torchvision's keys, and how the model that takes them is built.

    Args:
        stored: a ResNet of the usual width, ``style='pytorch'``.

    Raises:
        CheckpointError: another architecture, by name; or torchvision's features differ.
    """
    import torchvision

    resnet = plain_resnet_of(stored, 'torchvision')
    wanted = {'deep_stem': False, 'avg_down': False, 'stem_channels': 64, 'base_channels': 64}
    refuse_widths(stored, 'torchvision', resnet, wanted)
    name = f'resnet{resnet.depth}'
    model = getattr(torchvision.models, name)()
    model.fc = nn.Identity()
    load_strictly(model, stored.state, f'the backbone of {stored.path} in torchvision {name}')
    images = probe_images()
    ours = stored.build(out_indices=[0, 1, 2, 3])(images)
    check_same_features(ours, levels_of(model.eval(), images), f'torchvision {name}', TOLERANCE)
    return stored.state, {'name': 'torchvision', 'model': name, 'without': 'fc'}
