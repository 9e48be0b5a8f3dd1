"""Give a training that was interrupted before a validation that validation."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from xlearner_mm.registry import HOOKS

_VALIDATED = 'validated_iter'


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate before going on, where a checkpoint was saved but not validated any more.

    MMEngine's loops validate after the checkpoint of the same step or epoch and, when resumed, go on with the next one:
    the validation, perhaps the last, would be lost, and with it the best checkpoint, or an early end.
    """

    # After the other hooks, the checkpoints' too, are ready for a validation.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Make up for the validation that was due where the training is resumed."""
        if runner.val_loop is None or runner.iter == 0 or not _is_due(runner.train_loop):
            return
        if runner.message_hub.runtime_info.get(_VALIDATED) != runner.iter:
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Note the validation: the next checkpoint that is saved holds its result."""
        runner.message_hub.update_info(_VALIDATED, runner.iter)


def _is_due(loop: Any) -> bool:
    if isinstance(loop, IterBasedTrainLoop):
        done, last = loop.iter, loop.max_iters
    elif isinstance(loop, EpochBasedTrainLoop):
        done, last = loop.epoch, loop.max_epochs
    else:
        return False
    loop._decide_current_val_interval()  # dynamic_intervals may have changed it before the interruption
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)
