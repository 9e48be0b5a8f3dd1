"""How large a backbone is, for any inner widths, without building each."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from xlearner_mm.models.expansion.inner_widths import inner_widths


@dataclass(frozen=True)
class Size:
    """Parameters, and multiply-adds of convolutions and linear layers for one image.

    Args:
        params: number of parameters.
        flops: multiply-adds, what the ecosystem calls FLOPs.
    """

    params: int
    flops: int

    def __str__(self) -> str:
        """In millions."""
        return f'{self.params / 1e6:.3f} M parameters, {self.flops / 1e6:.1f} MFLOPs'


class SizeModel:
    """The sizes that a backbone would have with other inner widths.

    Args:
        backbone: the backbone; only its shapes are kept.
        input_size: height and width of the image that FLOPs are counted for.
    """

    def __init__(self, backbone: nn.Module, input_size: tuple[int, int]) -> None:
        names = {id(parameter): name for name, parameter in backbone.named_parameters()}
        self._shapes = {name: tuple(parameter.shape) for name, parameter in backbone.named_parameters()}
        self._along = {
            name: [(names[id(parameter)], dim) for parameter, dim in width.parameters()]
            for name, width in inner_widths(backbone).items()
        }
        self._positions = _count_positions(copy.deepcopy(backbone).to('meta').eval(), input_size)

    def __call__(self, widths: Mapping[str, int] | None = None) -> Size:
        """Return the size at these inner widths. Defaults to None: as the backbone was given."""
        shapes = {name: list(shape) for name, shape in self._shapes.items()}
        for name, channels in (widths or {}).items():
            for parameter, dim in self._along[name]:
                shapes[parameter][dim] = channels
        return Size(
            params=sum(math.prod(shape) for shape in shapes.values()),
            flops=sum(math.prod(shapes[f'{layer}.weight']) * count for layer, count in self._positions.items()),
        )


@torch.no_grad()
def _count_positions(shapes: nn.Module, input_size: tuple[int, int]) -> dict[str, int]:
    """Return how often each layer's weights are used for one image: its output positions."""
    positions: dict[str, int] = {}
    handles = []
    for name, module in shapes.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def count(layer: nn.Module, _: Any, output: torch.Tensor, name: str = name) -> None:
                positions[name] = positions.get(name, 0) + output.numel() // len(cast(torch.Tensor, layer.weight))

            handles.append(module.register_forward_hook(count))
    shapes(torch.empty(1, 3, *input_size, device='meta'))
    for handle in handles:
        handle.remove()
    return positions
