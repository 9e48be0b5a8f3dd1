"""Gradients of several batches that one optimizer step takes."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from xlearner_mm.engine.optim.wrapper import accumulative_counts
from xlearner_mm.errors import CheckpointError
from xlearner_mm.registry import HOOKS

_KEY = 'accumulative_counts'


@HOOKS.register_module()
class AccumulationHook(Hook):
    """End an epoch with the optimizer step that takes what is left, and hold a resumed training to its counting.

    MMEngine adds the last batches of an epoch to the first of the next. With this hook an epoch has as many optimizer
    steps as one of large batches, the last of which is smaller, and a checkpoint between two epochs leaves no gradient
    out.

    Raises:
        CheckpointError: a training is resumed whose iterations are other shares of an optimizer step.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Count the batches of this epoch alone."""
        if accumulative_counts(runner) > 1 and isinstance(runner.train_loop, EpochBasedTrainLoop):
            runner.optim_wrapper.initialize_count_status(runner.model, 0, len(runner.train_dataloader))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record how many batches a step takes."""
        checkpoint['meta'][_KEY] = _of(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare how many batches a step takes where a training is resumed."""
        recorded, own = checkpoint.get('meta', {}).get(_KEY), _of(runner)
        if runner._resume and recorded not in (None, own):
            raise CheckpointError(
                f'the checkpoint to resume counts iterations of which an optimizer step takes {recorded}, but here it '
                f'takes {own}: resume with the number of processes and the batch size that it began with'
            )


def _of(runner: Runner) -> int:
    wrapper: Any = runner.optim_wrapper
    return wrapper.get(_KEY, 1) if isinstance(wrapper, dict) else accumulative_counts(runner)
