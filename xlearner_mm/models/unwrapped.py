"""Models without the wrapper of distributed training."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """Return a model without its DDP or FSDP wrapper."""
    return model.module if is_model_wrapper(model) else model
