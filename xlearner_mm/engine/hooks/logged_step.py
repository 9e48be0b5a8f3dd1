"""Steps that are logged: measurements read from the device in these steps only."""

from __future__ import annotations

from mmengine.hooks import LoggerHook
from mmengine.runner import Runner


def logging_interval(runner: Runner) -> int:
    """Return the steps between two lines of the log, or 0 without a logger."""
    return next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 0)


def is_logged_step(runner: Runner) -> bool:
    """Return whether the current training step is logged."""
    interval = logging_interval(runner)
    return interval > 0 and (runner.iter + 1) % interval == 0
