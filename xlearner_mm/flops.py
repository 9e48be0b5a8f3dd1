"""FLOPs as papers count them: multiply-adds of convolutions, matrix products and attention."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_flops(run: Callable[[], object]) -> int:
    """Return the multiply-adds of everything that ``run`` computes, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


@torch.no_grad()
def image_flops(model: nn.Module, height: int = 224, width: int = 224) -> int:
    """Return the multiply-adds of a model in eval mode for one image of ``height`` x ``width`` pixels."""
    model.eval()
    return count_flops(lambda: model(torch.zeros(1, 3, height, width)))


@torch.no_grad()
def flops_by_layer(model: nn.Module, height: int, width: int) -> dict[str, int]:
    """Return the multiply-adds of every convolution and linear layer for one image; only shapes are computed."""
    shapes = copy.deepcopy(model).to('meta')
    shapes.eval()
    with FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, 3, height, width, device='meta'))
    # Names begin with the model's class.
    counts = {name.partition('.')[2]: sum(found.values()) // 2 for name, found in counter.get_flop_counts().items()}
    layers = (name for name, module in shapes.named_modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return {name: counts.get(name, 0) for name in layers}
