"""How a stock backbone is run stage by stage, so that links can be put between its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from xlearner_mm.registry import MODELS


class Branch(BaseModule):
    """One sub-backbone: a registered backbone whose stem and stages can be called one at a time.

    Args:
        name: the branch's name, for messages.
        backbone: config of a registered backbone of the ResNet family (``XLearnerResNet``, or ``ResNet``,
            ``ResNeXt``, ... of any library with its ``_scope_``).

    Attributes:
        channels: channels of every level.
        strides: pixels of the image per feature, of every level.

    Raises:
        ValueError: the backbone does not expose its stages.
    """

    def __init__(self, name: str, backbone: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.backbone = MODELS.build(dict(backbone))
        stage_names = getattr(self.backbone, 'res_layers', None)
        if not stage_names:
            raise ValueError(
                f"branch '{name}': {type(self.backbone).__name__} does not expose its stages; "
                'use a backbone of the ResNet family'
            )
        self._stage_names: Sequence[str] = tuple(stage_names)
        self.channels, self.strides = self._probe()

    def stem(self, x: Tensor) -> Tensor:
        """F_{-1}: image ``(B, 3, H, W)`` to ``(B, C, H/4, W/4)``."""
        net = self.backbone
        if getattr(net, 'deep_stem', False):
            return net.maxpool(net.stem(x))
        return net.maxpool(net.relu(net.norm1(net.conv1(x))))

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i, which maps F_{i-1} to E_i."""
        return getattr(self.backbone, self._stage_names[level])

    @torch.no_grad()
    def _probe(self, size: int = 64) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Measure channels and strides: right for dilated, plugged and re-shaped backbones alike."""
        training = self.training
        self.eval()
        x = self.stem(torch.zeros(1, 3, size, size))
        channels, strides = [], []
        for level in range(len(self._stage_names)):
            x = self.stage(level)(x)
            channels.append(x.shape[1])
            strides.append(size // x.shape[-1])
        self.train(training)
        return tuple(channels), tuple(strides)
