"""Checkpoints of which there is always a whole one."""

from __future__ import annotations

import os.path as osp
from collections import deque
from collections.abc import Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from xlearner_mm.atomic import PARTIAL, atomic_write_text
from xlearner_mm.engine.optim.wrapper import accumulative_counts
from xlearner_mm.engine.recovery.resume_point import Places
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import HOOKS, type_of

_OUTDATED_BEST = 'outdated_best'


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's hook in an order that survives being killed between any two operations.

    The new checkpoint is written whole (by :class:`~xlearner_mm.engine.runner.XLearnerRunner`), then the pointer
    ``last_checkpoint`` moves to it, and only then older ones go. MMEngine's own hook first deletes, then writes.

    A training that ends early is saved at its end, like one that reaches it: resumed, it stays ended.

    A checkpoint holds no gradients (those that several ranks have accumulated are different ones), so it is written
    only where none are pending.

    Args:
        kwargs: as for MMEngine's ``CheckpointHook``.

    Raises:
        ConfigError: it is to save between two steps whose gradients are accumulated.
    """

    file_backend: Any
    keep_ckpt_ids: deque

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for unknown in self.args:
            # MMEngine's own would hand it on, and fail when it saves for the first time.
            raise TypeError(f"WholeCheckpointHook.__init__() got an unexpected keyword argument '{unknown}'")
        out_dir: Any = self.out_dir
        self.places = Places(None if out_dir is None else str(out_dir), self.filename_tmpl)

    def before_train(self, runner: Runner) -> None:
        """Take up where an interrupted training was, and clear away what it left half written or undeleted."""
        self._refuse_pending_gradients(runner)
        self._first_iter = runner.iter
        super().before_train(runner)
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if last is not None and self.file_backend.isfile(last):
            self.last_ckpt = last
        self._remove_best(runner.message_hub.runtime_info.get(_OUTDATED_BEST, []))
        if is_main_process() and osp.isdir(self.out_dir):
            for partial in self.file_backend.list_dir_or_file(self.out_dir, list_dir=False, suffix=PARTIAL):
                self.file_backend.remove(self.file_backend.join_path(self.out_dir, partial))

    def after_train(self, runner: Runner) -> None:
        """Save a training that has ended early, whose checkpoints are of before its last validation."""
        ended_early = getattr(runner.train_loop, 'stop_training', False)
        if ended_early and self.save_last and runner.iter > self._first_iter:
            step = runner.epoch if self.by_epoch else runner.iter
            self._save_checkpoint_with_step(runner, step, {'epoch': runner.epoch, 'iter': runner.iter})
        super().after_train(runner)

    def _refuse_pending_gradients(self, runner: Runner) -> None:
        counts = accumulative_counts(runner)
        epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if counts == 1 or self.interval <= 0 or (epochs and self.by_epoch):  # AccumulationHook: none after an epoch
            return
        steps = len(runner.train_dataloader) if self.by_epoch else 1
        if epochs and len(runner.train_dataloader) % counts:
            raise ConfigError(
                f'default_hooks.checkpoint: with by_epoch=False and epochs of {len(runner.train_dataloader)} steps, no '
                f'multiple of optim_wrapper.accumulative_counts={counts}, a checkpoint would lose gradients that are '
                'not yet used: save by epochs'
            )
        for setting in ('interval', 'save_begin'):
            value = getattr(self, setting)
            if value * steps % counts:
                saves = f'{setting}={value}' + (f' epochs of {steps} steps' if self.by_epoch else '')
                raise ConfigError(
                    f'default_hooks.checkpoint: {saves} is no multiple of optim_wrapper.accumulative_counts={counts}: '
                    'a checkpoint would lose the gradients that are not yet used, and a resumed training would not be '
                    'the same'
                )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        kept = [*kept, step] if self.max_keep_ckpts > 0 and step not in kept else kept
        # With those that are still to be deleted: after an interruption before_train deletes them.
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            atomic_write_text(osp.join(runner.work_dir, 'last_checkpoint'), str(self.last_ckpt))
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
            self._remove([self.filename_tmpl.format(outdated) for outdated in kept[: -self.max_keep_ckpts]])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        later: list[str] = []
        # The checkpoint that names the new best names these too: after an interruption before_train deletes them.
        runner.message_hub.update_info(_OUTDATED_BEST, later)
        backend, self.file_backend = self.file_backend, _RemovingLater(self.file_backend, later)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        self._remove_best(later)

    def _remove_best(self, paths: list[str]) -> None:
        self._remove([osp.basename(path) for path in paths if path not in self._best()])

    def _best(self) -> list[str | None]:
        return [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]

    def _remove(self, names: list[str]) -> None:
        for name in names if is_main_process() else []:
            path = self.file_backend.join_path(self.out_dir, name)
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)


def as_whole(hook: Any) -> Any:
    """Return a hook's config with MMEngine's ``CheckpointHook`` replaced by ours; other hooks as they are.

    Args:
        hook: a config, or a hook that is built.
    """
    is_stock = isinstance(hook, Mapping) and type_of(hook, HOOKS) is CheckpointHook
    return {**hook, 'type': 'WholeCheckpointHook'} if is_stock else hook


class _RemovingLater:
    """A file backend that notes what it is asked to remove: MMEngine removes the last best before writing the next."""

    def __init__(self, backend: Any, later: list[str]) -> None:
        self._backend, self._later = backend, later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._later.append(path)
