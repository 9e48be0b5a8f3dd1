"""Losses that are no number."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from xlearner_mm.engine.step_record import image_paths, save_step
from xlearner_mm.registry import HOOKS

POLICIES = ('stop', 'skip')


class NonFiniteLossError(RuntimeError):
    """A loss is infinite or no number; the message names source, loss, images, and the file that holds the step."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Look at every step's loss before the weights take it, and stop the run or skip the step.

    The total loss is read between forward and backward: one number a step from the device, which MMEngine's log reads
    after the step in any case. Gradients are not looked at: what a loss scaler of mixed precision skips for their
    overflow is no failure, as long as the losses themselves are finite.

    The step is saved as ``<work_dir>/nonfinite_step_<N>[_rank<R>].pth``: images, labels, losses, seed and the weights
    before it. ``tools/replay_step.py`` makes it again.

    Args:
        policy: ``'stop'``; or ``'skip'``: on all ranks if one has such a loss, and the running statistics of norms are
            put back as they were before the step. Defaults to ``'stop'``.
        limit: how many steps may be skipped in a training before it stops all the same. Defaults to 10.

    Raises:
        NonFiniteLossError: such a loss, or more of them than the limit.
        ValueError: an unknown policy; or ``'skip'`` with accumulated gradients, of which a part would be missing.
    """

    def __init__(self, policy: str = 'stop', limit: int = 10) -> None:
        if policy not in POLICIES:
            raise ValueError(f"FiniteLossHook: unknown policy '{policy}', choose from {POLICIES}")
        self.policy, self.limit = policy, limit
        self._losses: Mapping[str, Any] = {}
        # Norms have taken the step into their running statistics when its loss is known.
        self._before: dict[str, Tensor] = {}
        self._undo: list[Callable[[], None]] = []

    def before_train(self, runner: Runner) -> None:
        """Stand between the losses and the optimizer."""
        if self.policy == 'skip' and runner.optim_wrapper._accumulative_counts > 1:
            raise ValueError("FiniteLossHook: policy='skip' needs optim_wrapper.accumulative_counts=1")
        model: Any = _unwrapped(runner)
        parse, update = model.parse_losses, runner.optim_wrapper.update_params

        def parse_losses(losses: dict) -> Any:
            total, self._losses = parse(losses)
            return total, self._losses

        def update_params(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            if self._may_go_on(runner, loss):
                update(loss, *args, **kwargs)

        model.parse_losses, runner.optim_wrapper.update_params = parse_losses, update_params
        self._undo = [lambda: delattr(model, 'parse_losses'), lambda: delattr(runner.optim_wrapper, 'update_params')]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep what the step would be saved with, or undone by."""
        self._batch = data_batch
        buffers = dict(_unwrapped(runner).named_buffers())
        if {name: b.shape for name, b in buffers.items()} != {name: b.shape for name, b in self._before.items()}:
            self._before = {name: buffer.clone() for name, buffer in buffers.items()}
        _copy(buffers, self._before)

    def after_train(self, runner: Runner) -> None:
        """Leave model and optimizer as they were."""
        for undo in self._undo:
            undo()

    def _may_go_on(self, runner: Runner, loss: Tensor) -> bool:
        finite = torch.isfinite(loss.detach()).all()
        if self.policy == 'stop':
            if finite:
                return True
            raise NonFiniteLossError(f'{self._save(runner)}; to skip such steps: FiniteLossHook(policy="skip")')
        everywhere = finite.to(torch.int32)
        dist.all_reduce(everywhere, 'min')
        if everywhere:
            return True
        told = self._save(runner) if not finite else f'step {runner.iter + 1}: a loss of another rank is not finite'
        self._skip(runner, told)
        return False

    def _skip(self, runner: Runner, told: str) -> None:
        skipped = runner.message_hub.runtime_info.get('nonfinite_steps', 0) + 1
        if skipped > self.limit:
            raise NonFiniteLossError(f'{told}; {self.limit} such steps have been skipped before, which is the limit')
        runner.message_hub.update_info('nonfinite_steps', skipped)
        _copy(self._before, dict(_unwrapped(runner).named_buffers()))
        print_log(f'{told}; the step is skipped, number {skipped} of at most {self.limit}', 'current', 30)

    def _save(self, runner: Runner) -> str:
        losses = {name: float(value) for name, value in self._losses.items()}
        faulty = [name for name, value in losses.items() if name != 'loss' and not torch.isfinite(torch.tensor(value))]
        paths = image_paths(self._batch)
        concerned = {name.partition('.')[0] for name in faulty} & paths.keys() or paths.keys()
        rank = f'_rank{runner.rank}' if runner.world_size > 1 else ''
        path = osp.join(runner.work_dir, f'nonfinite_step_{runner.iter + 1}{rank}.pth')
        save_step(path, runner, self._batch, losses, self._before)
        told = '; '.join(f'{name} = {losses[name]}' for name in faulty or ['loss'])
        images = '; '.join(f"source '{source}': {', '.join(paths[source])}" for source in paths if source in concerned)
        return f'step {runner.iter + 1}: {told}; images of {images}; saved in {path} for tools/replay_step.py'


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for dtype in {value.dtype for value in source.values()}:
        names = [name for name, value in source.items() if value.dtype == dtype]
        # One kernel for all, not one for each of some hundred norms.
        torch._foreach_copy_([target[name] for name in names], [source[name] for name in names])


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
