"""Guidance layers G^t: the student's features in a branch's channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from xlearner_mm.models.ragged import each


class GuidanceLayer(BaseModule):
    """G_i^t: 1x1 convolution, with a BN before the comparison if asked.

    Args:
        in_channels: the student's channels at level i.
        out_channels: branch t's channels at level i.
        norm: whether a BN follows the convolution. Defaults to False.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: bool = False) -> None:
        # Small: a large first guess costs the student a hundred steps to undo, and what it started with.
        super().__init__(init_cfg={'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01})
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map the student's ``(B, C, H, W)`` to the branch's channels and spatial ``size``."""
        return each(_resized, self.norm(self.conv(x)), size)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='bilinear', align_corners=False)


class Guidance(BaseModule):
    """All guidance layers, by teacher and level.

    Args:
        student_channels: level -> the student's channels.
        teachers: teacher (a branch, or a further one) -> level -> its channels, for the levels that are distilled.
        norm: whether each layer has a BN. Defaults to False.
    """

    def __init__(
        self,
        student_channels: Mapping[int, int],
        teachers: Mapping[str, Mapping[int, int]],
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.layers = ModuleDict(
            {
                f'{teacher}_{level}': GuidanceLayer(student_channels[level], width, norm)
                for teacher, channels in teachers.items()
                for level, width in channels.items()
            }
        )

    def forward(self, x: Tensor, teacher: str, level: int, size: tuple[int, int]) -> Tensor:
        """Return G_level^teacher(x) at a spatial size."""
        return self.layers[f'{teacher}_{level}'](x, size)
