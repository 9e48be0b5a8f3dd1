"""Give a training that was interrupted before a validation that validation."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from xlearner_mm.registry import HOOKS

_VALIDATED = 'validated_iter'


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate before going on, where a checkpoint was saved but not validated any more.

    MMEngine's loop validates after the checkpoint of the same step and, when resumed, goes on with the next step: the
    validation, perhaps the last, would be lost, and with it the best checkpoint.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Make up for the validation that was due at the step that the training is resumed at."""
        loop = runner.train_loop
        if runner.val_loop is None or not isinstance(loop, IterBasedTrainLoop) or loop.iter == 0:
            return
        due = loop.iter >= loop.val_begin and (loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters)
        if due and runner.message_hub.runtime_info.get(_VALIDATED) != loop.iter:
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Note the validation before checkpoints are saved that hold its result."""
        runner.message_hub.update_info(_VALIDATED, runner.iter)
