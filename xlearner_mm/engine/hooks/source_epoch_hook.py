"""How often every source has been seen."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.datasets import MultiSourceSampler
from xlearner_mm.engine.hooks.logged_step import is_logged_step
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class SourceEpochHook(Hook):
    """Log ``source_epoch/<source>``: epochs of every source that all processes have seen together.

    A source of 7 images and one of 70,000 are in every step; their own epochs say which is seen too often.

    Raises:
        ConfigError: before training, if the sampler is no :class:`~xlearner_mm.datasets.MultiSourceSampler`.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the sampler."""
        sampler = runner.train_dataloader.sampler
        if not isinstance(sampler, MultiSourceSampler):
            raise ConfigError(f'SourceEpochHook needs a MultiSourceSampler, got {type(sampler).__name__}')
        self._sampler = sampler

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Hand the epochs to the log: plain arithmetic, no device is asked."""
        if is_logged_step(runner):
            for source, epochs in self._sampler.source_epochs(runner.iter + 1).items():
                runner.message_hub.update_scalar(f'train/source_epoch/{source}', epochs)
