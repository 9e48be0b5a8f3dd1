"""Optimizer steps of several batches."""

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
    """End every epoch with an optimizer step, and resume only with the same number of batches per step.

    MMEngine adds the last batches of an epoch to the first of the next, so that a checkpoint between them loses
    gradients. With this hook the last optimizer step of an epoch may be smaller.

    Raises:
        CheckpointError: a training is resumed with another number of batches per optimizer step.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Count the batches of this epoch alone."""
        if accumulative_counts(runner) > 1 and isinstance(runner.train_loop, EpochBasedTrainLoop):
            runner.optim_wrapper.initialize_count_status(runner.model, 0, len(runner.train_dataloader))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record the batches per optimizer step."""
        checkpoint['meta'][_KEY] = accumulative_counts(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the batches per optimizer step with the checkpoint's."""
        recorded, own = checkpoint.get('meta', {}).get(_KEY), accumulative_counts(runner)
        if runner._resume and recorded not in (None, own):
            raise CheckpointError(
                f'the checkpoint to resume was trained with accumulative_counts={recorded}, here it is {own}: resume '
                'with as many processes and images per batch'
            )
