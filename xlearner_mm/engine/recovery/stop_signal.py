"""SIGTERM as a request to stop after the current step; forked processes still terminate by it, loaders' workers not."""

from __future__ import annotations

import os
import os.path as osp
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from xlearner_mm.engine.optim.wrapper import gradients_pending
from xlearner_mm.registry import HOOKS

_SIGNALS = {signal.SIGTERM}


class StopSignal:
    """Record SIGTERM instead of terminating.

    Forked processes keep the default action: mmdet's VOCMetric terminates its pool's workers by SIGTERM and waits for
    them. CPython loses signals that reach a process while it starts, so the signal is blocked from before the fork
    until the child has the default action (``os.register_at_fork``).
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = signal.SIG_DFL
        self._read, self._written, self._wakeup_before = -1, -1, -1
        self._reading = threading.Lock()

    def listen(self) -> bool:
        """Install the handler; return False outside the main thread, which cannot."""
        global _listening
        if threading.current_thread() is not threading.main_thread():
            return False
        if _listening is not None:  # left by an interrupted training
            _listening.stop_listening()
        self._before = signal.signal(signal.SIGTERM, self._remember)
        self._read, self._written = os.pipe()
        for end in (self._read, self._written):
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        _listening = self
        return True

    def has_come(self) -> bool:
        """Return whether it came, also while the main thread is in a call that blocks Python's handlers."""
        with self._reading, suppress(BlockingIOError):
            if not self.came and _listening is self:
                self.came = signal.SIGTERM in os.read(self._read, 4096)
        return self.came

    def stop_listening(self) -> None:
        """Restore the previous handler, if this one is installed."""
        global _listening
        if _listening is not self:
            return
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        with self._reading:
            _listening = None
            os.close(self._read)
            os.close(self._written)

    def _remember(self, number: int, frame: Any) -> None:
        # A second signal terminates at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.came = True


_listening: StopSignal | None = None


def stop_requested() -> bool:
    """Return whether SIGTERM came while a handler is installed; callable in any thread."""
    return _listening is not None and _listening.has_come()


_masks = threading.local()


def _hold_back() -> None:
    if _listening is not None:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_through() -> None:
    before = _masks.__dict__.pop('before', None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reset_in_child() -> None:
    global _listening
    if _listening is not None:
        _listening = None
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
    _let_through()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_reset_in_child)


def keep_workers(loader: DataLoader) -> DataLoader:
    """Return a loader whose workers end by SIGTERM only if their parent sends it.

    Schedulers and launchers send SIGTERM to all processes of a job. Without its workers, a training would end with an
    error before it writes a checkpoint.

    Args:
        loader: before its first use; any ``worker_init_fn`` is called as well.
    """
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        loader.worker_init_fn = partial(_heed_the_parent, loader.worker_init_fn)
    return loader


def _heed_the_parent(initialize: Callable[[int], None] | None, worker: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # first: threads that the initialization starts inherit it
    threading.Thread(target=_end_with_the_parents_signal, daemon=True).start()
    if initialize is not None:
        initialize(worker)


def _end_with_the_parents_signal() -> None:
    while signal.sigwaitinfo(_SIGNALS).si_pid != os.getppid():
        pass  # the training decides; a worker whose parent has died ends by itself
    os._exit(0)  # as PyTorch's own handler


class TrainingStopped(Exception):
    """A training was interrupted by SIGTERM; the message names the checkpoint to resume from."""


@HOOKS.register_module()
class StopSignalHook(Hook):
    """Write a checkpoint after the current step when SIGTERM comes, and stop.

    One rank that receives the signal stops all, at the next ``interval``-th step, or the next one that applies
    accumulated gradients. A second signal terminates at once. A training that saves by epochs writes no checkpoint:
    MMEngine cannot resume within an epoch. Outside the main thread, SIGTERM terminates the process as usual.

    Args:
        interval: steps between two checks across ranks; each is one collective of one number. Defaults to 10.

    Raises:
        TrainingStopped: on all ranks, after the checkpoint is written.
    """

    # After CheckpointHook in the same step.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._signal = StopSignal()
        self._leaving = False

    def before_train(self, runner: Runner) -> None:
        """Install the handler."""
        if not self._signal.listen():
            runner.logger.info('not in the main thread: SIGTERM ends this training without a checkpoint')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if any rank received the signal."""
        self._leaving = self._leaving or self._agreed(runner)
        if self._leaving and not gradients_pending(runner):
            runner.logger.info('SIGTERM: a checkpoint is written, then the training ends; once more ends it at once')
            written = self._save(runner)
            # A launcher kills all other ranks when one exits.
            dist.barrier()
            self._signal.stop_listening()
            raise TrainingStopped(f'stopped by SIGTERM after step {runner.iter + 1}; {written}')

    def after_train(self, runner: Runner) -> None:
        """Restore the previous handler."""
        self._signal.stop_listening()

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
                return f'{why}, and there is no earlier one: the same command starts from the beginning'
            return f'{why}; the last one is {last}: resume from it with --resume'
        name = hook.filename_tmpl.format(runner.iter + 1)
        if osp.basename(str(hook.last_ckpt)) != name:
            hook._save_checkpoint(runner)
        return f'checkpoint {hook.last_ckpt} is written; resume with --resume'
