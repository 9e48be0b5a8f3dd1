"""Weights that are no numbers."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

_STATISTICS = ('running_mean', 'running_var')


def weights_not_finite(model: nn.Module, statistics: bool = True) -> str | None:
    """Name the first weight of a model that is infinite or no number, and how many more are; None if all are finite.

    One number is read from the device.

    Args:
        model: whose parameters are looked at.
        statistics: whether the running statistics of its norms are as well. Defaults to True.
    """
    buffers = ((name, b) for name, b in model.named_buffers() if statistics and name.endswith(_STATISTICS))
    weights: dict[str, Tensor] = dict(chain(model.named_parameters(), buffers))
    if not weights:
        return None
    finite = torch.stack([torch.isfinite(value).all() for value in weights.values()]).tolist()
    faulty = [name for name, whole in zip(weights, finite, strict=True) if not whole]
    if not faulty:
        return None
    return faulty[0] + (f' and {len(faulty) - 1} more' if len(faulty) > 1 else '')
