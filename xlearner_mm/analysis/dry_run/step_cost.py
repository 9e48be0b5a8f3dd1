"""What the forward and backward pass of a training step cost."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile, record_function

from xlearner_mm.flops import count_flops


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

    def step() -> None:
        value = loss()
        allocations.mark()
        value.backward()

    with Allocations() as allocations:
        flops = 2 * count_flops(step)
    saved = allocations.at_mark
    return StepCost(flops, saved, allocations.peak - saved)


_ALLOCATION, _MARK = '[memory]', 'xlearner_mm: mark'


class Allocations:
    """Follow how many bytes are allocated within a ``with`` block.

    Attributes:
        peak: the most bytes that were held at once, beyond those held when the block was entered.
        at_mark: the bytes held when :meth:`mark` was called.
    """

    def __init__(self) -> None:
        self.peak, self.at_mark = 0, 0
        # Without this the profiler reports a machine without GPU as an error.
        os.environ.setdefault('KINETO_LOG_LEVEL', '99')
        self._profile = profile(use_cpu=True, profile_memory=True)

    def __enter__(self) -> Allocations:
        self._profile.__enter__()
        return self

    def mark(self) -> None:
        """Remember this moment."""
        with record_function(_MARK):
            pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._profile.__exit__(kind, error, trace)
        results = self._profile.kineto_results
        assert results is not None
        events = [
            event
            for event in results.events()
            if event.name() in (_ALLOCATION, _MARK) and event.device_type() == torch.autograd.DeviceType.CPU
        ]
        held = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == _MARK:
                self.at_mark = held
            else:
                held += event.nbytes()  # type: ignore[attr-defined]  # PyTorch's stub lacks it
                self.peak = max(self.peak, held)
