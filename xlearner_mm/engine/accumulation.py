"""Steps of which the optimizer takes several at once."""

from __future__ import annotations

from mmengine.runner import Runner


def accumulative_counts(runner: Runner) -> int:
    """Return of how many steps the optimizer adds the gradients before it takes them."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)
