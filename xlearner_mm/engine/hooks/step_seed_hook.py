"""Random numbers that depend on the step alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.registry import HOOKS

_SAMPLER_SEED = 'sampler_seed'


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed Python, NumPy and torch in every step by (seed, rank, step).

    Random numbers of the model (dropout, sampled boxes) are then a pure function of the step, so that a resumed
    training needs no random state. Those of augmentations are a function of the image's place in its source's stream,
    see :class:`~xlearner_mm.datasets.multi_source_sampler.StreamIndex`.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        seed_step(runner.seed, runner.rank, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Record the seed of the order of samples, which may have been drawn."""
        checkpoint['meta'][_SAMPLER_SEED] = getattr(runner.train_dataloader.sampler, 'seed', None)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Resume in the same order of samples."""
        seed = checkpoint['meta'].get(_SAMPLER_SEED)
        if runner._resume and seed is not None:
            runner.train_dataloader.sampler.seed = seed


def seed_step(seed: int, rank: int, iter: int) -> None:
    """Seed all generators of this process as at the start of a step."""
    number = int(np.random.SeedSequence([seed, rank, iter]).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    # Without any other device, `torch.manual_seed` still formats the stack for those that may appear.
    alone = hasattr(torch, 'accelerator') and not torch.accelerator.is_available()
    (torch.default_generator if alone else torch).manual_seed(number)
