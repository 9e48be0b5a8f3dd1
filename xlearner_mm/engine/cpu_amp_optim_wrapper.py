"""Mixed precision where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Forward in bfloat16, parameters and their updates in float32, on a CPU.

    MMEngine's ``AmpOptimWrapper`` refuses to be built without a GPU. bfloat16 has float32's range, so unlike float16 it
    needs no scaled loss.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run a forward in bfloat16 where that is safe.

        Args:
            model: the model that is trained.
        """
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
