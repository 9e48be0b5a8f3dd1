"""Loading weights strictly: all of them, or an error that lists what is wrong."""

from __future__ import annotations

from typing import Any

from torch import nn

from xlearner_mm.transfer.checkpoint.error import CheckpointError
from xlearner_mm.transfer.checkpoint.reading import read_checkpoint
from xlearner_mm.transfer.checkpoint.stem import stem_named_as
from xlearner_mm.transfer.checkpoint.weights import State, backbone_state, state_dict_of


def load_backbone(module: nn.Module, path: str, prefix: str | None = None, strict: bool = True) -> dict[str, Any]:
    """Load a backbone from any checkpoint that holds one.

    Args:
        module: the backbone.
        path: an export, a squeeze checkpoint, or a training checkpoint, as it is.
        prefix: where the backbone is in it. Defaults to None: found by itself.
        strict: raise when a parameter or statistic of the backbone is not in the checkpoint. Defaults to True.

    Returns:
        What the checkpoint says of itself; empty where it says nothing.

    Raises:
        CheckpointError: unreadable, of another shape, or (``strict``) leaving something at its random start.
    """
    checkpoint = read_checkpoint(path)
    content = state_dict_of(checkpoint)
    state = backbone_state(content, module, prefix)
    _check_holds_it(state, content, module, path)
    own_modules = {key.split('.')[0] for key in module.state_dict()}
    state = stem_named_as(module, state, f'checkpoint {path}')
    # A classifier's or detector's head beside the backbone is no fault; a deeper backbone's block is.
    state = {key: value for key, value in state.items() if key.split('.')[0] in own_modules}
    if strict:
        load_strictly(module, state, f'checkpoint {path}')
    else:
        _check_shapes(module, state, f'checkpoint {path}')
        module.load_state_dict(state, strict=False)
    return dict(checkpoint.get('meta') or {})


def _check_holds_it(state: State, content: State, module: nn.Module, path: str) -> None:
    if state:
        return
    branches = sorted({key.split('.')[2] for key in content if key.startswith('backbone.branches.')})
    if branches:
        raise CheckpointError(
            f'checkpoint {path} holds the branches {branches} of an expansion stage: export one, or name it by '
            f"prefix='backbone.branches.{branches[0]}.backbone'"
        )
    raise CheckpointError(f'checkpoint {path} holds nothing of a {type(module).__name__}')


def load_strictly(module: nn.Module, state: State, what: str) -> None:
    """Load ``state``, all of it and nothing else; arguments and errors as :func:`check_fits`."""
    check_fits(module, state, what)
    module.load_state_dict(dict(state), strict=False)


def check_fits(module: nn.Module, state: State, what: str) -> None:
    """Check that ``state`` is all of a module's state and nothing else.

    Args:
        module: what it is for.
        state: the weights.
        what: name of their origin, for messages.

    Raises:
        CheckpointError: keys missing or left over, or shapes that differ; lists them.
    """
    _check_shapes(module, state, what)
    own = {key for key in module.state_dict() if not key.endswith('num_batches_tracked')}
    missing = sorted(own - set(state))
    left_over = sorted(set(state) - set(module.state_dict()))
    if missing or left_over:
        raise CheckpointError(
            f'{what} does not fit {type(module).__name__}: '
            f'{_listed("missing", missing)}{_listed("not of this model", left_over)}'
            'give the checkpoint of this very architecture'
        )


def _check_shapes(module: nn.Module, state: State, what: str) -> None:
    own = module.state_dict()
    differing = [
        f'{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if differing:
        raise CheckpointError(
            f'{what} is of another shape than {type(module).__name__}: '
            f'{_listed("differing", differing)}check depth, base_channels and stem_channels'
        )


def _listed(label: str, keys: list[str], most: int = 8) -> str:
    if not keys:
        return ''
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return f'{len(keys)} {label}: {"; ".join(keys[:most])}{more}. '
