"""Blocks that are computed again in the backward pass instead of kept (``with_cp``): what that must not change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute_as_plain(backbone: nn.Module) -> bool:
    """Let the blocks that recompute (``with_cp=True``) train as those do that keep everything.

    The stock blocks call torch's reentrant checkpoint. DDP then refuses a backbone that runs more than once in a step
    ("Expected to mark a variable ready only once"), as ours do for images of several sizes, and BN takes every batch
    into its statistics twice. These blocks call the non-reentrant one, and their statistics rest in the second pass.

    Args:
        backbone: a stock backbone, changed in place; the gradients of its parameters stay what they were.

    Returns:
        Whether any block recomputes.
    """
    blocks = [module for module in backbone.modules() if _recomputes(module) and not _holds_such(module)]
    for block in blocks:
        block.with_cp = False  # type: ignore[assignment]
        # As MMEngine wraps a forward; of a partial, unlike of a closure, a deep copy (EMAHook's) has its own block.
        block.forward = partial(_recomputed, block)  # type: ignore[method-assign]
    return bool(blocks)


def _recomputes(module: nn.Module) -> bool:
    return bool(getattr(module, 'with_cp', False))


def _holds_such(module: nn.Module) -> bool:
    """Whether it only hands the setting on: ``with_cp`` stands in the backbone as in each of its blocks."""
    return any(_recomputes(part) for part in module.modules() if part is not module)


def _recomputed(block: nn.Module, x: Tensor, *args: Any) -> Any:
    run = type(block).forward
    if not x.requires_grad:
        return run(block, x, *args)
    contexts = partial(_contexts, block)
    return checkpoint(run, block, x, *args, use_reentrant=False, context_fn=contexts)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Of the forward pass and of the second one."""
    return nullcontext(), _statistics_at_rest(block)


@contextmanager
def _statistics_at_rest(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if module.training and getattr(module, 'track_running_stats', False)]
    kept = [(norm, norm.momentum, getattr(norm, 'num_batches_tracked', None)) for norm in norms]
    for norm in norms:
        # The backward pass wants the tensors that the forward pass kept, running statistics among them: they stay.
        norm.momentum, norm.num_batches_tracked = 0.0, None  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm, momentum, batches in kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches  # type: ignore[assignment]
