"""Leave in time when a scheduler says so."""

from __future__ import annotations

import os.path as osp
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from xlearner_mm.engine.accumulation import gradients_pending
from xlearner_mm.engine.recovery.stop_signal import StopSignal
from xlearner_mm.registry import HOOKS


class TrainingStopped(Exception):
    """A training that has left before its end because it was told to; its message says where to go on from."""


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Write a checkpoint after the current step when SIGTERM comes, and leave.

    Of several ranks it is enough that one gets the signal: they agree in every ``interval``-th step. With accumulated
    gradients they go on to the step that uses them. A second signal ends the process at once. A training that saves by
    epochs leaves without a checkpoint of its own: MMEngine could not resume within an epoch. A training in another than
    the main thread of its process, where nothing can listen to signals, ends by it at once.

    Args:
        interval: steps between two agreements of several ranks; each is one collective of one number. Defaults to 10.

    Raises:
        TrainingStopped: after the checkpoint is written, on all ranks; says where to go on from.
    """

    # After the checkpoint of this very step, if there is one.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._signal = StopSignal()
        self._leaving = False

    def before_train(self, runner: Runner) -> None:
        """Listen for the signal."""
        if not self._signal.listen():
            runner.logger.info('not in the main thread: SIGTERM ends this training without a checkpoint')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave if any rank was told to."""
        self._leaving = self._leaving or self._agreed(runner)
        if self._leaving and not gradients_pending(runner):
            runner.logger.info('SIGTERM: a checkpoint is written, then the training ends; once more ends it at once')
            written = self._save(runner)
            # No rank leaves before the file is there: a launcher ends all others when one has left.
            dist.barrier()
            self._signal.listen_no_more()
            raise TrainingStopped(f'stopped by SIGTERM after step {runner.iter + 1}; {written}')

    def after_train(self, runner: Runner) -> None:
        """Leave the signal as it was."""
        self._signal.listen_no_more()

    def _agreed(self, runner: Runner) -> bool:
        if runner.world_size == 1:
            return self._signal.came
        if (runner.iter + 1) % self.interval:
            return False
        told = torch.tensor(int(self._signal.came))
        dist.all_reduce(told, 'max')
        return bool(told)

    @staticmethod
    def _save(runner: Runner) -> str:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None or hook.by_epoch:
            last = None if hook is None else hook.last_ckpt
            why = 'no checkpoint of this step is written, for this training saves by epochs or not at all'
            if last is None:
                return f'{why}, and there is none before it: the same command begins anew'
            return f'{why}; the last one is {last}: go on from it with --resume'
        name = hook.filename_tmpl.format(runner.iter + 1)
        if osp.basename(str(hook.last_ckpt)) != name:
            hook._save_checkpoint(runner)
        return f'checkpoint {hook.last_ckpt} is written; go on with --resume'
