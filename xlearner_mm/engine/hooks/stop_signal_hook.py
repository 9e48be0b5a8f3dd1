"""Leave in time when a scheduler says so."""

from __future__ import annotations

import os
import os.path as osp
import signal
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from xlearner_mm.registry import HOOKS


class TrainingStopped(Exception):
    """A training that has left before its end because it was told to; its message says where to go on from."""


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Write a checkpoint after the current step when SIGTERM comes, and leave.

    Of several ranks it is enough that one gets the signal: they agree in every ``interval``-th step. A second
    signal ends the process at once. A training that saves by epochs leaves without a checkpoint of its own: MMEngine
    could not resume within an epoch.

    Args:
        interval: steps between two agreements of several ranks; each is one collective of one number. Defaults to 10.

    Raises:
        TrainingStopped: after the checkpoint is written, on all ranks.
    """

    # After the checkpoint of this very step, if there is one.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._told = False
        self._before: Any = None
        self._listens: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Listen for the signal."""
        self._listens = os.getpid()
        self._before = signal.signal(signal.SIGTERM, self._tell)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave if any rank was told to."""
        if self._agreed(runner):
            written = self._save(runner)
            # No rank leaves before the file is there: a launcher ends all others when one has left.
            dist.barrier()
            self._listen_no_more()
            raise TrainingStopped(f'stopped by SIGTERM after step {runner.iter + 1}; {written}; go on with --resume')

    def after_train(self, runner: Runner) -> None:
        """Leave the signal as it was."""
        self._listen_no_more()

    def _tell(self, number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._listens:
            # A forked worker, as of the pool of mmdet's VOCMetric, which ends its workers by this signal and waits.
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._told = True
        print_log('SIGTERM: a checkpoint is written, then the training ends; once more ends it at once', 'current')

    def _listen_no_more(self) -> None:
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def _agreed(self, runner: Runner) -> bool:
        if runner.world_size == 1:
            return self._told
        if (runner.iter + 1) % self.interval:
            return False
        told = torch.tensor(int(self._told))
        dist.all_reduce(told, 'max')
        return bool(told)

    @staticmethod
    def _save(runner: Runner) -> str:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None or hook.by_epoch:
            return 'no checkpoint of this step is written: this training saves by epochs or not at all'
        name = hook.filename_tmpl.format(runner.iter + 1)
        if osp.basename(str(hook.last_ckpt)) != name:
            hook._save_checkpoint(runner)
        return f'checkpoint {hook.last_ckpt} is written'
