"""What some work allocates, from PyTorch's own record of its CPU allocator."""

from __future__ import annotations

import os
from types import TracebackType

import torch
from torch.autograd.profiler import profile, record_function

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
