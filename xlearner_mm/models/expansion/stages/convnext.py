"""ConvNeXt of mmpretrain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xlearner_mm.models.expansion.branch import Stages, StagesError
from xlearner_mm.registry import MODELS


@MODELS.register_module()
class ConvNeXtStages(Stages):
    """ConvNeXt (and V2): the down-sampling before a stage belongs to it, ``norm{i}`` to what it returns.

    The stock forward normalizes its outputs but not the stream that feeds the next stage; so does this.

    Raises:
        StagesError: ``gap_before_final_norm=True`` (the stock default): the outputs are vectors, no features.
    """

    family = 'ConvNeXt'
    types = ('ConvNeXt',)
    normalizes_outputs = True

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        if backbone.gap_before_final_norm:
            raise StagesError(
                'ConvNeXt returns pooled vectors instead of features; set gap_before_final_norm=False '
                '(a classification source pools by its neck, GlobalAveragePooling)'
            )
        self.output_levels = tuple(backbone.out_indices)

    def stem(self, x: Tensor) -> Tensor:
        """Image ``(B, 3, H, W)`` to ``(B, C, H/4, W/4)``."""
        return self.backbone.downsample_layers[0](x)

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i with the down-sampling before it."""
        net = self.backbone
        if level == 0:
            return net.stages[0]
        return lambda x: net.stages[level](net.downsample_layers[level](x))

    def stem_modules(self) -> list[nn.Module]:
        """Return the patch convolution with its norm."""
        return [self.backbone.downsample_layers[0]]

    def stage_modules(self, level: int) -> list[nn.Module]:
        """Return the stage with the down-sampling before it, and ``norm{i}``."""
        net = self.backbone
        parts = [net.stages[level]] if level == 0 else [net.downsample_layers[level], net.stages[level]]
        return [*parts, getattr(net, f'norm{level}')] if level in self.output_levels else parts

    def side(self, pixels: int, stride: int) -> int:
        """Round down: its convolutions do not pad. Step by step or at once is the same."""
        return pixels // stride

    def output(self, level: int, x: Tensor) -> Tensor:
        """Normalize by ``norm{i}`` where the backbone has one."""
        return getattr(self.backbone, f'norm{level}')(x) if level in self.output_levels else x
