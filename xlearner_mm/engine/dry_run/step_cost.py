"""What the forward and backward pass of a training step cost."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xlearner_mm.engine.dry_run.allocations import Allocations


@dataclass(frozen=True)
class StepCost:
    """The cost of a forward and backward pass.

    Args:
        flops: of forward and backward; a multiply-add is two. Convolutions, matrix products and attention are counted.
        saved: bytes that the forward pass leaves for the backward pass.
        extra: bytes beyond ``saved`` at the peak, without the gradients of parameters.
    """

    flops: float
    saved: float
    extra: float

    def scaled(self, factor: float) -> StepCost:
        """Return the cost of so many times the work."""
        return StepCost(self.flops * factor, self.saved * factor, self.extra * factor)

    def towards(self, other: StepCost, share: float) -> StepCost:
        """Return the cost on the line from this one (0) through another one (1)."""
        pairs = zip((self.flops, self.saved, self.extra), (other.flops, other.saved, other.extra), strict=True)
        return StepCost(*(max(0.0, a + share * (b - a)) for a, b in pairs))


def measure_step(loss: Callable[[], Tensor], parameters: Iterable[nn.Parameter]) -> StepCost:
    """Run a step for real, on the CPU, and return what it costs.

    Args:
        loss: runs the forward pass and returns the loss.
        parameters: those that are trained.
    """
    # Gradients that are there already are added to: none of them is then counted as a cost of the step.
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gc.collect()
    with Allocations() as allocations, FlopCounterMode(display=False) as counter:
        value = loss()
        allocations.mark()
        value.backward()
        del value
    saved = allocations.at_mark
    return StepCost(counter.get_total_flops(), saved, allocations.peak - saved)
