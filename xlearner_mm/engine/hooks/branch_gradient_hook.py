"""Gradient norm per branch."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from xlearner_mm.engine.hooks.logged_step import is_logged_step
from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.models.expansion.expanded_backbone import expanded_backbone_of
from xlearner_mm.registry import HOOKS


@HOOKS.register_module()
class BranchGradientHook(Hook):
    """Log ``gradient/<branch>``, the norm of the gradient that the optimizer applies to each branch.

    It is measured in logged steps, after averaging over processes, unscaling (AMP) and clipping; in the squeeze stage,
    which has no branches, never.
    """

    def before_train(self, runner: Runner) -> None:
        """Register hooks before the optimizers' steps: after them the gradients are gone."""
        self._norms: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        backbone = expanded_backbone_of(runner.model)
        if backbone is None:
            return
        branches = {name: list(branch.parameters()) for name, branch in backbone.branches.items()}

        def measure(names: Collection[str], *_: Any) -> None:
            if is_logged_step(runner):
                self._norms.update({name: gradient_norm(branches[name]) for name in names})

        for name, wrapper in wrappers_of(runner.optim_wrapper).items():
            own = partial(measure, [name] if name in branches else list(branches))
            self._handles.append(wrapper.optimizer.register_step_pre_hook(own))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the norms."""
        for name, norm in self._norms.items():
            runner.message_hub.update_scalar(f'train/gradient/{name}', norm)
        self._norms = {}

    def after_train(self, runner: Runner) -> None:
        """Remove the hooks of the optimizers."""
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def gradient_norm(parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the 2-norm of all gradients together, on their device; 0 without gradients."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
