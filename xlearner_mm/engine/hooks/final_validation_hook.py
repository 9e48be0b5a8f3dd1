"""Give a training that was interrupted between its last step and its last result that result."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class FinalValidationHook(Hook):
    """Validate when a resumed training has no step left: MMEngine's loop would end without any metric."""

    def before_train(self, runner: Runner) -> None:
        """Remember where the training starts."""
        self._start = runner.iter

    def after_train(self, runner: Runner) -> None:
        """Validate if nothing was left to train."""
        if 0 < self._start == runner.iter and runner.val_loop is not None:
            runner.val_loop.run()
