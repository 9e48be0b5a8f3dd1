"""Optimizer wrappers: one optimizer or clipping per branch, and mixed precision on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.nearest_name import nearest


class BranchClipping:
    """Clip the gradients of each branch separately, as the ``clip_func`` of an :class:`OptimWrapper`.

    Clipped together, a large gradient of one task would shrink the steps of all others. Logs ``grad_norm/<branch>``,
    the norms before clipping.

    Args:
        branches: branch -> all parameters that only its losses reach.
        clip: ``clip_grad_norm_`` or ``clip_grad_value_``.

    Attributes:
        norms: branch -> norm of its gradients before they were last clipped.
    """

    def __init__(self, branches: Mapping[str, Sequence[nn.Parameter]], clip: Callable[..., Tensor | None]) -> None:
        self.branches, self._clip = branches, clip
        self.norms: dict[str, float] = {}

    def __call__(self, parameters: Sequence[nn.Parameter], **settings: Any) -> Tensor | None:
        """Clip, and return the norm of all gradients before it; None if values are clipped.

        Args:
            parameters: all that the optimizer updates.
            settings: as for ``clip``.
        """
        updated = {id(parameter) for parameter in parameters}
        norms: dict[str, Tensor] = {}
        for branch, owned in self.branches.items():
            own = [p for p in owned if id(p) in updated]
            norm = self._clip(own, **settings) if own else None
            if norm is not None:
                norms[branch] = norm
        if not norms:
            return None
        together = torch.stack([norm.detach() for norm in norms.values()])
        self.norms = dict(zip(norms, together.tolist(), strict=True))
        for branch, value in self.norms.items():
            MessageHub.get_current_instance().update_scalar(f'train/grad_norm/{branch}', value)
        # On the host, where it is logged.
        return torch.linalg.vector_norm(torch.tensor(list(self.norms.values())), float(settings.get('norm_type', 2.0)))


class PerBranchOptimWrapper(OptimWrapperDict):
    """One optimizer per branch, and one count and scale of backward passes for all of them.

    A branch's parameters get gradients from its own losses only, so each is optimized as if it were trained alone.
    Schedules may differ too: ``param_scheduler=dict(cls=[...], det=[...])``. Accumulation and loss scaling are shared:
    an overflow in one branch skips that branch's update only.

    Args:
        optim_wrappers: branch -> its wrapper, all of one type: MMEngine's :class:`OptimWrapper` or
            :class:`AmpOptimWrapper`, or a subclass with the same ``step``.

    Raises:
        ConfigError: wrappers with a ``step`` of their own.
    """

    def __init__(self, **optim_wrappers: OptimWrapper) -> None:
        super().__init__(**optim_wrappers)
        for name, wrapper in optim_wrappers.items():
            if type(wrapper).step not in (OptimWrapper.step, AmpOptimWrapper.step):
                raise ConfigError(
                    f'optim_wrapper.type: {type(wrapper).__name__} has a step of its own, which optimizers of '
                    f"several branches ('{name}', ...) cannot share; take OptimWrapper or AmpOptimWrapper, or one "
                    'optimizer for all branches'
                )
        self._lead = next(iter(optim_wrappers.values()))
        # One backward pass has one scale.
        self._scaler = getattr(self._lead, 'loss_scaler', None)
        for wrapper in optim_wrappers.values() if self._scaler is not None else ():
            wrapper.loss_scaler = self._scaler

    @property
    def _accumulative_counts(self) -> int:
        return self._lead._accumulative_counts

    @property
    def _inner_count(self) -> int:
        return self._lead._inner_count

    @_inner_count.setter
    def _inner_count(self, count: int) -> None:
        self._lead._inner_count = count

    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Run the backward pass, and update all branches when enough gradients are accumulated."""
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Run the backward pass of all branches."""
        self._lead.backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip every branch's gradients, then update all branches: clipping may find non-finite gradients."""
        for wrapper in self.values():
            if wrapper.clip_grad_kwargs:
                if self._scaler is not None:
                    self._scaler.unscale_(wrapper.optimizer)
                wrapper._clip_grad()
        for wrapper in self.values():
            if self._scaler is None:
                wrapper.optimizer.step(**kwargs)
            else:
                self._scaler.step(wrapper.optimizer, **kwargs)
        if self._scaler is not None:
            self._scaler.update(self._lead._scale_update_param)

    def zero_grad(self, **kwargs: Any) -> None:
        """Reset all gradients."""
        for wrapper in self.values():
            wrapper.zero_grad(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in the wrappers' precision, without averaging gradients that are only accumulated."""
        with self._lead.optim_context(model):
            yield

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Start counting accumulated gradients."""
        self._lead.initialize_count_status(model, cur_iter, max_iters)

    def should_update(self) -> bool:
        """Return whether enough gradients are accumulated."""
        return self._lead.should_update()

    def should_sync(self) -> bool:
        """Return whether the next backward pass is followed by an update."""
        return self._lead.should_sync()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return the loss divided by the number of accumulated steps."""
        return self._lead.scale_loss(loss)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of every branch's optimizer.

        Raises:
            CheckpointError: the state is of other branches.
        """
        if set(state_dict) != set(self.keys()):
            raise CheckpointError(
                f'the checkpoint to resume from has optimizers of {sorted(state_dict)}, but optim_wrapper has those of '
                f'branches {sorted(self.keys())}: resume with the optim_wrapper that it was trained with, or start '
                'from it by load_from'
            )
        super().load_state_dict(state_dict)


def wrappers_of(optim_wrapper: OptimWrapper) -> dict[str, OptimWrapper]:
    """Return the wrappers by branch, or the single one under ``''``."""
    return dict(optim_wrapper.items()) if isinstance(optim_wrapper, OptimWrapperDict) else {'': optim_wrapper}


def check_schedule_names(schedules: Any, optim_wrapper: OptimWrapper) -> None:
    """Refuse schedules by branch that do not match the optimizers.

    Args:
        schedules: ``param_scheduler`` of a config.
        optim_wrapper: its optimizers.

    Raises:
        ConfigError: schedules of unknown branches, none of a branch, or several for one optimizer.
    """
    if not isinstance(schedules, Mapping) or 'type' in schedules:
        return
    if not isinstance(optim_wrapper, OptimWrapperDict):
        name = next(iter(schedules), '...')
        raise ConfigError(
            f'param_scheduler has schedules of {list(schedules)}, but optim_wrapper has one optimizer for all: give '
            f"branches their own by constructor='PerBranchOptimWrapperConstructor', {name}=dict(), or all of them one "
            'list of schedules'
        )
    branches = list(optim_wrapper.keys())
    for name in schedules:
        if name not in branches:
            raise ConfigError(
                f"param_scheduler has a schedule of '{name}'{nearest(name, branches, 'the branches are')}"
            )
    missing = [name for name in branches if name not in schedules]
    if missing:
        raise ConfigError(f'param_scheduler lacks schedules of branch(es) {missing}; [] is a constant rate')


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: forward in bfloat16, parameters and updates in float32.

    MMEngine's ``AmpOptimWrapper`` needs a GPU. bfloat16 has float32's range, so the loss is not scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in autocast."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def accumulative_counts(runner: Runner) -> int:
    """Return the number of steps whose gradients one optimizer step accumulates."""
    wrapper: Any = runner.optim_wrapper
    return (
        wrapper.get('accumulative_counts', 1)
        if isinstance(wrapper, dict)
        else getattr(wrapper, '_accumulative_counts', 1)
    )


def gradients_pending(runner: Runner) -> bool:
    """Return whether the optimizer has accumulated gradients after a step."""
    return accumulative_counts(runner) > 1 and not runner.optim_wrapper.should_update()
