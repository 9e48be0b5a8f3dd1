"""Non-finite losses, gradients and weights."""

from __future__ import annotations

import math
import os.path as osp
from collections.abc import Callable, Mapping, Set
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from xlearner_mm.engine.optim.wrapper import BranchClipping, accumulative_counts, wrappers_of
from xlearner_mm.engine.recovery.step_record import image_paths, save_step, sources_not_finite
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.norms import STATISTICS
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS

POLICIES = ('stop', 'skip')
_REMEDY = (
    'lower the learning rate, or set optim_wrapper.clip_grad=dict(max_norm=...), which finds such a step before the '
    'weights are updated; then resume from the last checkpoint with --resume'
)


class NonFiniteLossError(RuntimeError):
    """Non-finite loss, gradients or weights; the message names source, loss, images, and the file of the step."""


class _NonFiniteGradients(Exception):
    """Raised by the clipping of gradients, which does not know the step's images."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop the training at a non-finite loss, or skip the step, before the weights are updated.

    The total loss is one number to read from the device in every step, which MMEngine's log reads anyway. Gradients are
    checked where ``optim_wrapper.clip_grad`` computes their norm; without clipping, non-finite weights are found in the
    next step's loss, when they are to be saved, and at the end. Overflows of the gradients that a loss scaler skips are
    ignored.

    The step is saved as ``<work_dir>/nonfinite_step_<N>[_rank<R>].pth`` for ``tools/replay_step.py``: images, labels,
    losses, seed, and the weights before it.

    Args:
        policy: ``'stop'``, or ``'skip'`` to skip the step on all ranks and restore the running statistics of norms.
            Defaults to ``'stop'``.
        limit: most steps to skip in a training. Defaults to 10.

    Raises:
        NonFiniteLossError: a non-finite loss or gradient, or more of them than the limit; non-finite weights, whatever
            the policy: they are not saved.
        ConfigError: an unknown policy, a negative limit, or ``'skip'`` with accumulated gradients.
    """

    def __init__(self, policy: str = 'stop', limit: int = 10) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"FiniteLossHook: unknown policy '{policy}', choose from {POLICIES}")
        if limit < 0:
            raise ConfigError(f'FiniteLossHook: limit={limit} must be at least 0')
        self.policy, self.limit = policy, limit
        self._losses: Mapping[str, Any] = {}
        self._before: dict[str, Tensor] = {}  # buffers before the step: norms update theirs in the forward pass
        self._undo: list[Callable[[], None]] = []
        self._children: list[tuple[Mapping[str, Any], list[Any]]] = []
        self._owners: list[tuple[str, Mapping[str, Tensor | None]]] = []

    def before_train(self, runner: Runner) -> None:
        """Wrap the methods between the losses and the optimizer."""
        if self.policy == 'skip' and accumulative_counts(runner) > 1:
            raise ConfigError("FiniteLossHook: policy='skip' needs optim_wrapper.accumulative_counts=1")
        model: Any = unwrapped(runner.model)
        optimizer = runner.optim_wrapper
        parse, update = model.parse_losses, optimizer.update_params

        def parse_losses(losses: dict) -> Any:
            total, self._losses = parse(losses)
            return total, self._losses

        def update_params(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            if not self._is_finite(runner, loss):
                return
            try:
                update(loss, *args, **kwargs)
            except _NonFiniteGradients as found:
                self._stop_or_skip(runner, f'step {runner.iter + 1}: {found}; {self._describe_step(runner)}')

        model.parse_losses, optimizer.update_params = parse_losses, update_params
        self._undo = [lambda: delattr(model, 'parse_losses'), lambda: delattr(optimizer, 'update_params')]
        for branch, wrapper in wrappers_of(optimizer).items():
            self._check_clipping(wrapper, branch)

    def _check_clipping(self, optimizer: Any, branch: str) -> None:
        """Check the norm of the gradients where clipping has computed it, and MMEngine logs it next."""
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
        """Keep batch and buffers, to save the step or undo it."""
        self._batch = data_batch
        buffers = self._buffers(unwrapped(runner.model))
        if {name: b.shape for name, b in buffers.items()} != {name: b.shape for name, b in self._before.items()}:
            self._before = {name: buffer.clone() for name, buffer in buffers.items()}
        _copy(buffers, self._before)

    def _buffers(self, model: nn.Module) -> dict[str, Tensor]:
        """Return all buffers; the hundreds of modules are only searched again if one has been replaced or added."""
        if not self._children or any(list(now.values()) != before for now, before in self._children):
            modules = dict(model.named_modules())
            self._children = [(module._modules, list(module._modules.values())) for module in modules.values()]
            self._owners = [(f'{name}.' if name else '', module._buffers) for name, module in modules.items()]
        own = ((f'{path}{name}', buffer) for path, held in self._owners for name, buffer in held.items())
        return {name: buffer for name, buffer in own if buffer is not None}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to save non-finite weights: every resumed training would start from them."""
        self._check_weights(runner, checkpoint['meta']['iter'], 'this checkpoint is not written')

    def after_train(self, runner: Runner) -> None:
        """Restore model and optimizer; the last step has no next loss that would show non-finite weights."""
        for undo in self._undo:
            undo()
        self._check_weights(runner, runner.iter, 'the training has ended with them')

    @staticmethod
    def _check_weights(runner: Runner, step: int, outcome: str, statistics: bool = True) -> None:
        faulty = weights_not_finite(unwrapped(runner.model), statistics)
        if faulty is not None:
            raise NonFiniteLossError(
                f'step {step}: weights are not finite ({faulty}), because the gradients of this step or an earlier one '
                f'were not though its loss was; {outcome}: {_REMEDY}'
            )

    def _is_finite(self, runner: Runner, loss: Tensor) -> bool:
        finite = torch.isfinite(loss.detach()).all()
        everywhere = finite.to(torch.int32)
        if self.policy == 'skip':
            dist.all_reduce(everywhere, 'min')
        if everywhere:
            return True
        other = f'step {runner.iter + 1}: a loss of another rank is not finite'
        self._stop_or_skip(runner, other if finite else self._describe_losses(runner))
        return False

    def _stop_or_skip(self, runner: Runner, message: str) -> None:
        if self.policy == 'stop':
            raise NonFiniteLossError(f'{message}; to skip such steps: FiniteLossHook(policy="skip")')
        skipped = runner.message_hub.runtime_info.get('nonfinite_steps', 0) + 1
        if skipped > self.limit:
            raise NonFiniteLossError(f'{message}; {self.limit} such steps have been skipped before, which is the limit')
        runner.message_hub.update_info('nonfinite_steps', skipped)
        runner.optim_wrapper.zero_grad()
        _copy(self._before, self._buffers(unwrapped(runner.model)))
        runner.logger.warning(f'{message}; the step is skipped, number {skipped} of at most {self.limit}')

    def _describe_losses(self, runner: Runner) -> str:
        """Save the step, and return its non-finite losses and the sources where they began."""
        # Weights that were non-finite before the step are no fault of its images. It has changed the statistics.
        self._check_weights(runner, runner.iter, f'step {runner.iter + 1} has no finite loss', statistics=False)
        losses = {name: float(value) for name, value in self._losses.items()}
        faulty = [name for name, value in losses.items() if name != 'loss' and not math.isfinite(value)]
        concerned = list(dict.fromkeys(name.partition('.')[0] for name in faulty))
        # Through the norms, one source spoils the losses of later ones and of those in the same batch.
        origins = [name for name in sources_not_finite(self._batch) if name in concerned] or concerned[:1]
        first = [name for name in faulty if name.partition('.')[0] in origins]
        later = [name for name in faulty if name not in first]
        values = '; '.join(f'{name} = {losses[name]}' for name in first or ['loss'])
        followed = f' (and with it {", ".join(later)})' if later else ''
        return f'step {runner.iter + 1}: {values}{followed}; {self._describe_step(runner, set(origins))}'

    def _describe_step(self, runner: Runner, origins: Set[str] = frozenset()) -> str:
        """Save the step, and return its images and file."""
        paths = image_paths(self._batch)
        concerned = origins & paths.keys() or paths.keys()
        images = '; '.join(f"source '{source}': {', '.join(paths[source])}" for source in paths if source in concerned)
        rank = f'_rank{runner.rank}' if runner.world_size > 1 else ''
        path = osp.join(runner.work_dir, f'nonfinite_step_{runner.iter + 1}{rank}.pth')
        losses = {name: float(value) for name, value in self._losses.items()}
        try:
            save_step(path, runner, self._batch, losses, self._before)
        except OSError as error:  # the message matters more than the file
            return f'images of {images}; the step could not be saved in {path}: {error.strerror or error}'
        return f'images of {images}; saved in {path} for tools/replay_step.py'


def weights_not_finite(model: nn.Module, statistics: bool = True) -> str | None:
    """Name the first non-finite weight of a model and the number of others; None if all are finite.

    One number is read from the device.

    Args:
        model: its parameters are checked.
        statistics: check the running statistics of norms too. Defaults to True.
    """
    weights: dict[str, Tensor] = dict(model.named_parameters())
    if statistics:
        weights |= {name: buffer for name, buffer in model.named_buffers() if name.endswith(STATISTICS)}
    if not weights:
        return None
    finite = torch.stack([torch.isfinite(value).all() for value in weights.values()]).tolist()
    faulty = [name for name, whole in zip(weights, finite, strict=True) if not whole]
    return faulty[0] + (f' and {len(faulty) - 1} more' if len(faulty) > 1 else '') if faulty else None


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for dtype in {value.dtype for value in source.values()}:
        names = [name for name, value in source.items() if value.dtype == dtype]
        # One kernel for all, not one for each of some hundred norms.
        torch._foreach_copy_([target[name] for name in names], [source[name] for name in names])
