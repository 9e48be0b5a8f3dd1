"""Losses that are no number."""

from __future__ import annotations

import math
import os.path as osp
from collections.abc import Callable, Mapping, Set
from itertools import chain
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from xlearner_mm.engine.optim import BranchClipping, wrappers_of
from xlearner_mm.engine.optim.wrapper import accumulative_counts
from xlearner_mm.engine.recovery.step_record import image_paths, save_step, sources_not_finite
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS

POLICIES = ('stop', 'skip')
_REMEDY = (
    'lower the learning rate, or set optim_wrapper.clip_grad=dict(max_norm=...), with which such a step is found '
    'before the weights take it; then go on from the last checkpoint with --resume'
)


class NonFiniteLossError(RuntimeError):
    """A loss is infinite or no number; the message names source, loss, images, and the file that holds the step.

    Or the gradients are, or the weights.
    """


class _NonFiniteGradients(Exception):
    """Between the clipping of the gradients, which sees them, and the step, which knows their images."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Look at every step's loss before the weights take it, and stop the run or skip the step.

    The total loss is read between forward and backward: one number a step from the device, which MMEngine's log reads
    after the step in any case. Gradients are looked at where ``optim_wrapper.clip_grad`` reads their norm; elsewhere
    that would be one more number a step, and weights that are no numbers are found when they are to be saved, in the
    next step's loss, and at the end. What a loss scaler of mixed precision skips for an overflow of the gradients is
    no failure, as long as the losses themselves are finite.

    The step is saved as ``<work_dir>/nonfinite_step_<N>[_rank<R>].pth``: images, labels, losses, seed and the weights
    before it. ``tools/replay_step.py`` makes it again.

    Args:
        policy: ``'stop'``; or ``'skip'``: on all ranks if one has such a loss, and the running statistics of norms are
            put back as they were before the step. Defaults to ``'stop'``.
        limit: how many steps may be skipped in a training before it stops all the same. Defaults to 10.

    Raises:
        NonFiniteLossError: such a loss or such gradients, or more of them than the limit; such weights, whatever the
            policy: they are not saved.
        ConfigError: an unknown policy, a negative limit, or ``'skip'`` with accumulated gradients.
    """

    def __init__(self, policy: str = 'stop', limit: int = 10) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"FiniteLossHook: unknown policy '{policy}', choose from {POLICIES}")
        if limit < 0:
            raise ConfigError(f'FiniteLossHook: limit={limit} must be at least 0')
        self.policy, self.limit = policy, limit
        self._losses: Mapping[str, Any] = {}
        # Norms have taken the step into their running statistics when its loss is known.
        self._before: dict[str, Tensor] = {}
        self._undo: list[Callable[[], None]] = []

    def before_train(self, runner: Runner) -> None:
        """Stand between the losses and the optimizer."""
        if self.policy == 'skip' and accumulative_counts(runner) > 1:
            raise ConfigError("FiniteLossHook: policy='skip' needs optim_wrapper.accumulative_counts=1")
        model: Any = unwrapped(runner.model)
        optimizer = runner.optim_wrapper
        parse, update = model.parse_losses, optimizer.update_params

        def parse_losses(losses: dict) -> Any:
            total, self._losses = parse(losses)
            return total, self._losses

        def update_params(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            if not self._may_go_on(runner, loss):
                return
            try:
                update(loss, *args, **kwargs)
            except _NonFiniteGradients as found:
                self._without_step(runner, f'step {runner.iter + 1}: {found}; {self._images_and_file(runner)}')

        model.parse_losses, optimizer.update_params = parse_losses, update_params
        self._undo = [lambda: delattr(model, 'parse_losses'), lambda: delattr(optimizer, 'update_params')]
        for branch, wrapper in wrappers_of(optimizer).items():
            self._look_at_clipped(wrapper, branch)

    def _look_at_clipped(self, optimizer: Any, branch: str) -> None:
        """Read the norm of the gradients where clipping has computed it, and MMEngine would log it next."""
        if not getattr(optimizer, 'clip_grad_kwargs', None) or hasattr(optimizer, 'loss_scaler'):
            return
        clip = optimizer.clip_func

        def clip_func(*args: Any, **kwargs: Any) -> Tensor | None:
            norm = clip(*args, **kwargs)
            if norm is not None and not torch.isfinite(norm):
                norms = clip.norms if isinstance(clip, BranchClipping) else {branch: norm}
                faulty = [f"'{name}'" for name, own in norms.items() if name and not math.isfinite(own)]
                of = f' of branch {", ".join(faulty)}' if faulty else ''
                raise _NonFiniteGradients(
                    f'the gradients{of} are not finite though the losses are: their norm is {norm}'
                )
            return norm

        optimizer.clip_func = clip_func
        self._undo.append(lambda: setattr(optimizer, 'clip_func', clip))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep what the step would be saved with, or undone by."""
        self._batch = data_batch
        buffers = dict(unwrapped(runner.model).named_buffers())
        if {name: b.shape for name, b in buffers.items()} != {name: b.shape for name, b in self._before.items()}:
            self._before = {name: buffer.clone() for name, buffer in buffers.items()}
        _copy(buffers, self._before)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are no numbers: every resumed training would begin with them."""
        self._check_weights(runner, checkpoint['meta']['iter'], 'this checkpoint is not written')

    def after_train(self, runner: Runner) -> None:
        """Leave model and optimizer as they were; the last step has no next one in whose loss it would be seen."""
        for undo in self._undo:
            undo()
        self._check_weights(runner, runner.iter, 'the training has ended with them')

    @staticmethod
    def _check_weights(runner: Runner, step: int, outcome: str, statistics: bool = True) -> None:
        faulty = weights_not_finite(unwrapped(runner.model), statistics)
        if faulty is not None:
            raise NonFiniteLossError(
                f'step {step}: weights are not finite ({faulty}), because the gradients of this step or of one before '
                f'it were not though its loss was; {outcome}: {_REMEDY}'
            )

    def _may_go_on(self, runner: Runner, loss: Tensor) -> bool:
        finite = torch.isfinite(loss.detach()).all()
        if self.policy == 'stop':
            if not finite:
                self._without_step(runner, self._told(runner))
            return True
        everywhere = finite.to(torch.int32)
        dist.all_reduce(everywhere, 'min')
        if everywhere:
            return True
        self._without_step(
            runner,
            self._told(runner) if not finite else f'step {runner.iter + 1}: a loss of another rank is not finite',
        )
        return False

    def _without_step(self, runner: Runner, told: str) -> None:
        """Stop, or go on as if the step had not been."""
        if self.policy == 'stop':
            raise NonFiniteLossError(f'{told}; to skip such steps: FiniteLossHook(policy="skip")')
        skipped = runner.message_hub.runtime_info.get('nonfinite_steps', 0) + 1
        if skipped > self.limit:
            raise NonFiniteLossError(f'{told}; {self.limit} such steps have been skipped before, which is the limit')
        runner.message_hub.update_info('nonfinite_steps', skipped)
        runner.optim_wrapper.zero_grad()
        _copy(self._before, dict(unwrapped(runner.model).named_buffers()))
        print_log(f'{told}; the step is skipped, number {skipped} of at most {self.limit}', 'current', 30)

    def _told(self, runner: Runner) -> str:
        """What is not finite in this step, and where that began; the step is saved."""
        # Images are not to be blamed for what the weights were before them. The statistics have taken this step.
        self._check_weights(runner, runner.iter, f'step {runner.iter + 1} has no finite loss', statistics=False)
        losses = {name: float(value) for name, value in self._losses.items()}
        faulty = [name for name, value in losses.items() if name != 'loss' and not math.isfinite(value)]
        concerned = list(dict.fromkeys(name.partition('.')[0] for name in faulty))
        # What one source leaves in the norms spoils the losses of those after it, and of those in one batch with it.
        origins = [name for name in sources_not_finite(self._batch) if name in concerned] or concerned[:1]
        first = [name for name in faulty if name.partition('.')[0] in origins]
        later = [name for name in faulty if name not in first]
        told = '; '.join(f'{name} = {losses[name]}' for name in first or ['loss'])
        followed = f' (and with it {", ".join(later)})' if later else ''
        return f'step {runner.iter + 1}: {told}{followed}; {self._images_and_file(runner, set(origins))}'

    def _images_and_file(self, runner: Runner, origins: Set[str] = frozenset()) -> str:
        paths = image_paths(self._batch)
        concerned = origins & paths.keys() or paths.keys()
        images = '; '.join(f"source '{source}': {', '.join(paths[source])}" for source in paths if source in concerned)
        return f'images of {images}; {self._save(runner)}'

    def _save(self, runner: Runner) -> str:
        rank = f'_rank{runner.rank}' if runner.world_size > 1 else ''
        path = osp.join(runner.work_dir, f'nonfinite_step_{runner.iter + 1}{rank}.pth')
        losses = {name: float(value) for name, value in self._losses.items()}
        try:
            save_step(path, runner, self._batch, losses, self._before)
        except OSError as error:
            # What is told of the step is worth more than its file.
            return f'the step could not be saved in {path}: {error.strerror or error}'
        return f'saved in {path} for tools/replay_step.py'


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for dtype in {value.dtype for value in source.values()}:
        names = [name for name, value in source.items() if value.dtype == dtype]
        # One kernel for all, not one for each of some hundred norms.
        torch._foreach_copy_([target[name] for name in names], [source[name] for name in names])


_STATISTICS = ('running_mean', 'running_var')


def weights_not_finite(model: nn.Module, statistics: bool = True) -> str | None:
    """Name the first weight of a model that is infinite or no number, and how many more are; None if all are finite.

    One number is read from the device.

    Args:
        model: whose parameters are looked at.
        statistics: whether the running statistics of its norms are as well. Defaults to True.
    """
    buffers = ((name, b) for name, b in model.named_buffers() if statistics and name.endswith(_STATISTICS))
    weights: dict[str, Tensor] = dict(chain(model.named_parameters(), buffers))
    if not weights:
        return None
    finite = torch.stack([torch.isfinite(value).all() for value in weights.values()]).tolist()
    faulty = [name for name, whole in zip(weights, finite, strict=True) if not whole]
    if not faulty:
        return None
    return faulty[0] + (f' and {len(faulty) - 1} more' if len(faulty) > 1 else '')
