"""Epochs of every source."""

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
    """Log ``source_epoch/<source>``: how often all processes together have seen each source.

    Raises:
        ConfigError: before training, without a :class:`~xlearner_mm.datasets.MultiSourceSampler`.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the sampler."""
        sampler = runner.train_dataloader.sampler
        if not isinstance(sampler, MultiSourceSampler):
            raise ConfigError(f'SourceEpochHook needs a MultiSourceSampler, got {type(sampler).__name__}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the epochs."""
        if is_logged_step(runner):
            sampler: Any = runner.train_dataloader.sampler
            for source, epochs in sampler.source_epochs(runner.iter + 1).items():
                runner.message_hub.update_scalar(f'train/source_epoch/{source}', epochs)
