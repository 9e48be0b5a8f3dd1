"""ResNet, ResNeXt and their relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from xlearner_mm.models.expansion.stages.base import Stages


class ResNetStages(Stages):
    """Backbones of mmdet, mmseg and mmpretrain that list their stages in ``res_layers``.

    Of any depth and width; with a deep stem, and without a pooling one (``RegNet``). They give out their stream.
    """

    family = 'ResNet (with ResNeXt, RegNet, Res2Net, ...)'

    @classmethod
    def fits(cls, backbone: Any) -> bool:
        """Whether it lists its stages."""
        return bool(getattr(backbone, 'res_layers', None))

    def count(self) -> int:
        """Number of stages."""
        return len(self.backbone.res_layers)

    def stem(self, x: Tensor) -> Tensor:
        """Image ``(B, 3, H, W)`` to ``(B, C, H/4, W/4)`` (H/2 without pooling)."""
        net = self.backbone
        x = net.stem(x) if getattr(net, 'deep_stem', False) else net.relu(net.norm1(net.conv1(x)))
        return net.maxpool(x) if hasattr(net, 'maxpool') else x

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return ``layer{i+1}``."""
        return getattr(self.backbone, self.backbone.res_layers[level])
