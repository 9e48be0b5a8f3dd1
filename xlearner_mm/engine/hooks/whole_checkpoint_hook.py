"""Checkpoints that survive an interruption anywhere."""

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
    """MMEngine's hook in an order that survives a kill between any two operations.

    :class:`~xlearner_mm.engine.runner.XLearnerRunner` writes the new checkpoint atomically, then the pointer
    ``last_checkpoint`` moves to it, and only then are older ones deleted. MMEngine's own hook first deletes, then
    writes.

    A training that ends early is saved at its end, so that it stays ended when resumed. Checkpoints hold no gradients
    (those accumulated by several ranks differ), so they are only written where none are pending.

    Args:
        kwargs: as for MMEngine's ``CheckpointHook``.

    Raises:
        ConfigError: it saves between two steps whose gradients are accumulated.
    """

    file_backend: Any
    keep_ckpt_ids: deque

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for unknown in self.args:  # which MMEngine's hook passes on, and fails when it saves for the first time
            raise TypeError(f"WholeCheckpointHook.__init__() got an unexpected keyword argument '{unknown}'")
        out_dir: Any = self.out_dir
        self.places = Places(None if out_dir is None else str(out_dir), self.filename_tmpl)

    def before_train(self, runner: Runner) -> None:
        """Restore the state of an interrupted training, and delete its partial and outdated files."""
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
        """Save a training that has ended early: its last checkpoint precedes its last validation."""
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
        batches = len(runner.train_dataloader) if epochs or self.by_epoch else 1
        if epochs and batches % counts:
            raise ConfigError(
                f'default_hooks.checkpoint: with by_epoch=False and epochs of {batches} steps, no multiple of '
                f'optim_wrapper.accumulative_counts={counts}, a checkpoint would lose pending gradients: save by epochs'
            )
        for setting in ('interval', 'save_begin'):
            value = getattr(self, setting)
            if value * (batches if self.by_epoch else 1) % counts:
                saves = f'{setting}={value}' + (f' epochs of {batches} steps' if self.by_epoch else '')
                raise ConfigError(
                    f'default_hooks.checkpoint: {saves} is no multiple of optim_wrapper.accumulative_counts={counts}: '
                    'a checkpoint would lose pending gradients, and a resumed training would differ'
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
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        self._remove([osp.basename(path) for path in paths if path not in best])

    def _remove(self, names: list[str]) -> None:
        for name in names if is_main_process() else []:
            path = self.file_backend.join_path(self.out_dir, name)
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)


def as_whole(hook: Any) -> Any:
    """Replace MMEngine's ``CheckpointHook`` by ours in a hook's config; return other hooks, built ones too, as is."""
    is_stock = isinstance(hook, Mapping) and type_of(hook, HOOKS) is CheckpointHook
    return {**hook, 'type': 'WholeCheckpointHook'} if is_stock else hook


class _RemovingLater:
    """File backend that delays removals: MMEngine removes the last best checkpoint before it writes the next."""

    def __init__(self, backend: Any, later: list[str]) -> None:
        self._backend, self._later = backend, later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._later.append(path)
