"""Steps of which the optimizer takes several at once."""

from __future__ import annotations

from mmengine.runner import Runner


def accumulative_counts(runner: Runner) -> int:
    """Return of how many steps the optimizer adds the gradients before it takes them."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def gradients_pending(runner: Runner) -> bool:
    """Return whether the optimizer has gradients, after a step, that it has not taken yet."""
    return accumulative_counts(runner) > 1 and not runner.optim_wrapper.should_update()
