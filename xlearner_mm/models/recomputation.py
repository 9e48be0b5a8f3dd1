"""Activation checkpointing (``with_cp``) with unchanged gradients and statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.norms import ModuleState, Ragged, ragged_forwards
from xlearner_mm.models.unwrapped import unwrapped


def recompute_as_plain(backbone: nn.Module) -> bool:
    """Replace the reentrant checkpoint of stock blocks (``with_cp=True``) by the non-reentrant one.

    With the reentrant one, DDP refuses a backbone that runs more than once in a step ("Expected to mark a variable
    ready only once"), as ours do for images of several sizes, and BN updates its statistics twice per batch.

    Args:
        backbone: a stock backbone, changed in place; the gradients of its parameters stay what they were.

    Returns:
        Whether any block recomputes.
    """
    blocks = [module for module in backbone.modules() if _recomputes(module) and not _holds_such(module)]
    for block in blocks:
        block.with_cp = False  # type: ignore[assignment]
        recompute(block)
    return bool(blocks)


def recompute_named(model: nn.Module, names: str | Sequence[str] | None) -> None:
    """Do the same for the modules that MMEngine's ``activation_checkpointing`` names.

    Args:
        model: the training's model, in DDP or not, after MMEngine has wrapped the modules' forwards.
        names: of the modules, as in the config. None: none.

    Raises:
        ConfigError: such a module, or a part of it, is compiled.
    """
    compiled = {part for whole in model.modules() if whole._compiled_call_impl is not None for part in whole.modules()}
    for name in [names] if isinstance(names, str) else names or ():
        module = attrgetter(name)(unwrapped(model))
        if any(part in compiled for part in module.modules()):
            raise ConfigError(
                f"activation_checkpointing of '{name}' cannot be combined with compile of the model: leave out either"
            )
        stock = getattr(module.__dict__.get('forward'), '__wrapped__', None)
        if stock is not None:
            module.forward = stock
            recompute(module)


def recompute(block: nn.Module) -> None:
    """Recompute a module, changed in place, in the backward pass in the state in which it ran: norms update once."""
    # As MMEngine wraps a forward; of a partial, unlike of a closure, a deep copy (EMAHook's) has its own block.
    run = block.__dict__.get('forward') or partial(type(block).forward, block)
    block.forward = partial(_recomputed, block, run)  # type: ignore[method-assign]


def _recomputes(module: nn.Module) -> bool:
    return bool(getattr(module, 'with_cp', False))


def _holds_such(module: nn.Module) -> bool:
    """Return whether it only passes the setting to blocks of its own."""
    return any(_recomputes(part) for part in module.modules() if part is not module)


def _recomputed(block: nn.Module, run: Callable, *args: Any, **kwargs: Any) -> Any:
    if not _takes_gradients(args):
        return run(*args, **kwargs)
    contexts = partial(_contexts, ModuleState(block.modules()))
    x = args[0]
    if isinstance(x, Ragged):
        run, args = partial(_on_parts, block, run, len(x.parts)), (*x.parts, *args[1:])
    return checkpoint(run, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _takes_gradients(value: Any) -> bool:
    if isinstance(value, tuple | list | Ragged):
        return any(_takes_gradients(part) for part in (value if isinstance(value, tuple | list) else value.parts))
    return isinstance(value, Tensor) and value.requires_grad


def _on_parts(block: nn.Module, run: Callable, count: int, *args: Any, **kwargs: Any) -> Any:
    """Run on a ragged batch: the checkpoint takes tensors, and computes them again when the network runs no more."""
    x = Ragged(args[:count])
    with ragged_forwards(block, x):
        return run(x, *args[count:], **kwargs)


def _contexts(state: ModuleState) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return the contexts of the forward pass and of the recomputation."""
    return nullcontext(), state.installed()
