"""ResNet, ResNeXt and their relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xlearner_mm.models.expansion.branch import Stages
from xlearner_mm.registry import MODELS


@MODELS.register_module()
class ResNetStages(Stages):
    """Backbones of mmdet, mmseg and mmpretrain that list their stages in ``res_layers``.

    Of any depth and width; with a deep stem, and without a pooling one (``RegNet``). Their outputs are the stream.
    """

    family = 'ResNet (with ResNeXt, RegNet, Res2Net, ...)'

    @classmethod
    def fits(cls, backbone: Any) -> bool:
        """Return whether it lists its stages."""
        return bool(getattr(backbone, 'res_layers', None))

    def count(self) -> int:
        """Return the number of stages."""
        return len(self.backbone.res_layers)

    def whole_modules(self) -> list[nn.Module]:
        """Return the stages."""
        return [getattr(self.backbone, name) for name in self.backbone.res_layers]

    def stem(self, x: Tensor) -> Tensor:
        """Image ``(B, 3, H, W)`` to ``(B, C, H/4, W/4)`` (H/2 without pooling)."""
        net = self.backbone
        x = net.stem(x) if getattr(net, 'deep_stem', False) else net.relu(net.norm1(net.conv1(x)))
        return net.maxpool(x) if hasattr(net, 'maxpool') else x

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return ``layer{i+1}``."""
        return getattr(self.backbone, self.backbone.res_layers[level])

    def stem_modules(self) -> list[nn.Module]:
        """Return the deep stem, or the first convolution and its norm."""
        net = self.backbone
        return [net.stem] if getattr(net, 'deep_stem', False) else [net.conv1, net.norm1]

    def stage_modules(self, level: int) -> list[nn.Module]:
        """Return ``layer{i+1}``."""
        return [getattr(self.backbone, self.backbone.res_layers[level])]
