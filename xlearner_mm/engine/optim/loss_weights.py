"""Loss weights without effect."""

from __future__ import annotations

import inspect

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.errors import SourceError
from xlearner_mm.models.expansion import ExpansionLearner


def refuse_weights_without_effect(learner: ExpansionLearner, optim_wrapper: OptimWrapper) -> None:
    """Refuse loss weights meant as learning rates where the optimizer divides them out again.

    The losses of a branch with one weight scale its gradients, by whose size Adam and the like divide. There, weights
    only balance the sources of a branch against each other.

    Raises:
        SourceError: all sources of a branch have the same weight, neither 1 nor 0, and it has no effect.
    """
    if learner.backbone.link_keys and not learner.backbone.reconciliation.detach:
        return  # a branch also learns from the losses of others
    wrappers = wrappers_of(optim_wrapper)
    for branch in learner.backbone.branches:
        sources = [s for s in learner.sources.values() if learner.backbone.branch_of(s.task) == branch]
        weight = sources[0].loss_weight
        optimizer = wrappers.get(branch, next(iter(wrappers.values()))).optimizer
        if weight in (0, 1) or any(source.loss_weight != weight for source in sources):
            continue
        if _same_steps(optimizer, weight):
            names = ', '.join(f"'{source.name}'" for source in sources)
            whose = 'the only source' if len(sources) == 1 else 'all sources'
            raise SourceError(
                f'source {names}: loss_weight={weight} of {whose} of branch {branch!r} has no effect, since the steps '
                f'of {type(optimizer).__name__} do not depend on the size of the loss; set loss_weight=1, and the '
                f"branch's learning rate by constructor='PerBranchOptimWrapperConstructor', "
                f'{branch}=dict(optimizer=dict(lr=...)) in optim_wrapper'
            )


def like(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, **settings: float) -> torch.optim.Optimizer:
    """Return an optimizer of the same class for one parameter, to try things.

    Args:
        optimizer: whose class and settings it has.
        parameter: what the new one updates.
        settings: other settings, if the class has them.
    """
    kind = type(optimizer)
    taken = inspect.signature(kind).parameters
    given = {**optimizer.defaults, **settings}
    return kind([parameter], **{key: value for key, value in given.items() if key in taken})


def _same_steps(optimizer: torch.optim.Optimizer, weight: float) -> bool:
    """Return whether weighted gradients lead to the same steps."""
    plain, weighted = (_moved(optimizer, factor) for factor in (1.0, weight))
    return torch.allclose(plain, weighted, rtol=0.01, atol=0.0)


def _moved(optimizer: torch.optim.Optimizer, factor: float) -> Tensor:
    parameter = nn.Parameter(torch.zeros(4))
    tried = like(optimizer, parameter, lr=0.01, weight_decay=0.0)
    for step in range(3):
        parameter.grad = factor * torch.tensor([1.0, -0.5, 0.1, 2.0]) / (step + 1)
        tried.step()
    return parameter.detach()
