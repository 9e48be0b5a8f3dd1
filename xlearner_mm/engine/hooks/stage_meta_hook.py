"""Say in every checkpoint what was trained, as plain data."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from xlearner_mm.registry import HOOKS
from xlearner_mm.version import __version__

META_KEY = 'xlearner'


@HOOKS.register_module()
class StageMetaHook(Hook):
    """Record stage, backbones, sources and input normalisation under ``meta['xlearner']`` of every checkpoint.

    Exporting and transferring then need neither the config file nor to run the config text that mmengine stores.

    Raises:
        TypeError: before training, if the model is of neither stage.
    """

    def before_run(self, runner: Runner) -> None:
        """Check that the model can describe itself."""
        if not hasattr(_unwrapped(runner), 'describe'):
            raise TypeError(
                f'StageMetaHook needs an ExpansionLearner or a FitNetDistiller, got {type(_unwrapped(runner)).__name__}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the description."""
        description = _unwrapped(runner).describe()
        checkpoint['meta'][META_KEY] = {**description, 'xlearner_mm_version': __version__}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Hold a resumed squeeze to the teachers that it began with.

        Raises:
            CheckpointError: a teacher's file has changed or is missing.
        """
        recorded = checkpoint.get('meta', {}).get(META_KEY)
        if runner._resume and recorded is not None and hasattr(_unwrapped(runner), 'check_resumed'):
            _unwrapped(runner).check_resumed(recorded)


def _unwrapped(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
