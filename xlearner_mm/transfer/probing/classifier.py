"""A fitted probe as a checkpoint of the stock classifier that its config describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DefaultScope
from torch import nn

from xlearner_mm.atomic import atomic_write
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.norms import is_batch_norm
from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.probing.logistic import Fitted


def save_classifier(
    model: dict[str, Any], backbone: nn.Module, fitted: Fitted, folder: Path, meta: Mapping[str, Any]
) -> Path:
    """Write backbone and fitted classifier, so that ``tools/test.py`` tests them as it tests any training's.

    Args:
        model: config of the stock classifier. The standardisation goes into the running statistics of a batch norm in
            the neck, or, where there is none, into the head's weights.
        backbone: the one whose features were fitted.
        fitted: the classifier.
        folder: gets ``probe.pth`` and ``last_checkpoint``.
        meta: plain data to keep beside the weights.

    Raises:
        ConfigError: the config's head is no single linear layer.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        network = MODELS.build({**model, 'backbone': {**model['backbone'], 'init_cfg': None}})
    if not isinstance(getattr(network.head, 'fc', None), nn.Linear):
        raise ConfigError(f'{type(network.head).__name__} is no linear classifier: a probe needs a LinearClsHead')
    network.backbone.load_state_dict(backbone.state_dict())
    _put(network, fitted)
    path = folder / 'probe.pth'
    with atomic_write(path) as partial:
        torch.save({'state_dict': network.state_dict(), 'meta': dict(meta)}, partial)
    (folder / 'last_checkpoint').write_text(str(path))
    return path


@torch.no_grad()
def _put(network: Any, fitted: Fitted) -> None:
    mean, variance = fitted.standardiser.mean, fitted.standardiser.variance
    weight, bias = fitted.weight.astype(np.float64), fitted.bias.astype(np.float64)
    norms: list[Any] = [module for module in network.neck.modules() if is_batch_norm(module)]
    if norms:
        norms[-1].running_mean.copy_(torch.from_numpy(mean))
        norms[-1].running_var.copy_(torch.from_numpy(variance))
    else:
        weight = weight / np.sqrt(variance + 1e-6)
        bias = bias - weight @ mean
    network.head.fc.weight.copy_(torch.from_numpy(weight))
    network.head.fc.bias.copy_(torch.from_numpy(bias))
