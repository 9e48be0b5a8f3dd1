"""Record of what was trained in every checkpoint."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.checkpoint import META_KEY
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS
from xlearner_mm.version import __version__


@HOOKS.register_module()
class StageMetaHook(Hook):
    """Record stage, backbones, sources and input normalization as plain data under ``meta['xlearner']``.

    Export and transfer read it in place of the config file, or the config text that MMEngine stores.

    Raises:
        ConfigError: before training, if the model is of neither stage.
        CheckpointError: a resumed training of the other stage, or with a changed or missing teacher.
    """

    def before_run(self, runner: Runner) -> None:
        """Check that the model can describe itself."""
        model = unwrapped(runner.model)
        if not hasattr(model, 'describe'):
            raise ConfigError(
                f'StageMetaHook needs an ExpansionLearner or a FitNetDistiller, got {type(model).__name__}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the description."""
        description: Any = unwrapped(runner.model).describe()
        checkpoint['meta'][META_KEY] = {**description, 'xlearner_mm_version': __version__}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare stage and teachers of a resumed training with the checkpoint's."""
        recorded, model = checkpoint.get('meta', {}).get(META_KEY), unwrapped(runner.model)
        if not runner._resume or recorded is None:
            return
        stage = model.describe()['stage']
        if recorded['stage'] != stage:
            raise CheckpointError(
                f'the checkpoint to resume is of the {recorded["stage"]} stage, but this training is of the {stage} '
                'stage: give it a work directory of its own'
            )
        if hasattr(model, 'check_resumed'):
            model.check_resumed(recorded)
