"""How far this rank is, for the others."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.engine.recovery.rank_watch import RankWatch
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class RankWatchHook(Hook):
    """Mark every step's beginning and end in the :class:`~xlearner_mm.engine.recovery.rank_watch.RankWatch`.

    Args:
        watch: this rank's.
    """

    priority = 'VERY_HIGH'

    def __init__(self, watch: RankWatch) -> None:
        self.watch = watch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """A batch has been read."""
        self.watch.mark(f'training step {runner.iter + 1}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """A step has been made."""
        self.watch.mark(f'what follows training step {runner.iter + 1}: reading data, saving, validation')

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Ranks may validate different numbers of batches: that is no progress that could be compared."""
        self.watch.stay_alive()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The same in a test."""
        self.watch.stay_alive()
