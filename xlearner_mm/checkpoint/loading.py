"""Loading weights strictly: all of them, or an error that lists what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.checkpoint.metadata import recorded_widths
from xlearner_mm.checkpoint.reading import read_checkpoint
from xlearner_mm.checkpoint.stem import stem_named_as
from xlearner_mm.checkpoint.weights import State, backbone_state, state_dict_of
from xlearner_mm.errors import CheckpointError

SAME_ARCHITECTURE = 'give the checkpoint of this very architecture'
"""The fix of a checkpoint that does not fit."""

# More keys than these are listed one a line.
_IN_LINE = 8
_BACKBONES = ('backbone.', 'student.')


def load_backbone(
    module: nn.Module,
    path: str,
    prefix: str | None = None,
    strict: bool = True,
    remedy: str = SAME_ARCHITECTURE,
) -> dict[str, Any]:
    """Load a backbone from any checkpoint that holds one.

    Args:
        module: the backbone.
        path: an export, a squeeze checkpoint, or a training checkpoint, as it is.
        prefix: where the backbone is in it. Defaults to None: found by itself.
        strict: raise when a parameter or statistic of the backbone is not in the checkpoint; else they are logged, and
            stay as they are. Defaults to True.
        remedy: what messages say to do about a checkpoint that lacks some. Defaults to :data:`SAME_ARCHITECTURE`.

    Returns:
        What the checkpoint says of itself; empty where it says nothing.

    Raises:
        CheckpointError: unreadable, of another shape, or (``strict``) leaving something at its random start.
    """
    checkpoint = read_checkpoint(path)
    what = f'checkpoint {path}'
    found = find_backbone_state(checkpoint, module, path, prefix)
    own_modules = {key.split('.')[0] for key in module.state_dict()}
    renamed = stem_named_as(module, found, what, strict)
    # A classifier's or detector's head beside the backbone is no fault; a deeper backbone's block is.
    state = {key: value for key, value in renamed.items() if key.split('.')[0] in own_modules}
    if strict:
        load_strictly(module, state, what, remedy)
    else:
        _check_shapes(module, state, what)
        _log_differences(module, renamed, state, what)
        module.load_state_dict(state, strict=False)
    return dict(checkpoint.get('meta') or {})


def load_strictly(module: nn.Module, state: State, what: str, remedy: str = SAME_ARCHITECTURE) -> None:
    """Load ``state``, all of it and nothing else; arguments and errors as :func:`check_fits`."""
    check_fits(module, state, what, remedy)
    module.load_state_dict(dict(state), strict=False)


def check_fits(module: nn.Module, state: State, what: str, remedy: str = SAME_ARCHITECTURE) -> None:
    """Check that ``state`` is all of a module's state and nothing else.

    Args:
        module: what it is for.
        state: the weights.
        what: name of their origin, for messages.
        remedy: what to do about missing keys. Defaults to :data:`SAME_ARCHITECTURE`.

    Raises:
        CheckpointError: keys missing or left over, or shapes that differ; lists them.
    """
    _check_shapes(module, state, what)
    missing = _missing(module, state)
    left_over = sorted(set(state) - set(module.state_dict()))
    if missing or left_over:
        raise CheckpointError(
            f'{what} does not fit {type(module).__name__}: '
            f'{_listed("missing", missing)}{_listed("not of this model", left_over)}'
            f'{remedy if missing else SAME_ARCHITECTURE}'
        )


def _missing(module: nn.Module, state: State) -> list[str]:
    return sorted({key for key in module.state_dict() if not key.endswith('num_batches_tracked')} - set(state))


def _log_differences(module: nn.Module, offered: State, loaded: State, what: str) -> None:
    """Log what ``strict=False`` lets pass."""
    missing, unused = _missing(module, loaded), sorted(set(offered) - set(module.state_dict()))
    if missing or unused:
        listed = _listed('missing, which stay at their random start', missing) + _listed('not used', unused)
        print_log(
            f'{type(module).__name__}: {what} is loaded with strict=False: {listed}'.rstrip(),
            'current',
            logging.WARNING,
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


def _listed(label: str, keys: Sequence[str]) -> str:
    if not keys:
        return ''
    if len(keys) <= _IN_LINE:
        return f'{len(keys)} {label}: {"; ".join(keys)}. '
    return f'{len(keys)} {label}:' + ''.join(f'\n  {key}' for key in keys) + '\n'


def check_backbone(state: Mapping[str, Any], own: Mapping[str, Any], filename: str) -> None:
    """Refuse to start a training from a part of its backbone; a head of other classes may start at random.

    Args:
        state: weights of the checkpoint.
        own: those of the model.
        filename: the checkpoint's, for messages.

    Raises:
        CheckpointError: weights of the backbone are missing, or of another shape.
    """
    backbone = [key for key in own if key.startswith(_BACKBONES) and not key.endswith('num_batches_tracked')]
    other = [key for key in backbone if key in state and state[key].shape != own[key].shape]
    if other:
        found, expected = tuple(state[other[0]].shape), tuple(own[other[0]].shape)
        raise CheckpointError(
            f'load_from: checkpoint {filename} is of another backbone: {other[0]} is {found}, expected {expected}, and '
            f'{len(other) - 1} more differ; give the config the depth and widths that its metadata names, or, to prune '
            'on, PruningHook'
        )
    missing = [key for key in backbone if key not in state]
    if missing:
        raise CheckpointError(
            f'load_from: checkpoint {filename} lacks {len(missing)} of the {len(backbone)} weights of the backbone, '
            f'which would start at random: {", ".join(missing[:8])}{", ..." if len(missing) > 8 else ""}; give a '
            "checkpoint of this very backbone, or start the part that it holds by init_cfg=dict(type='Pretrained', "
            'checkpoint=...) of that part'
        )


# Those of an expansion checkpoint, and of an export of all of them.
_HOLDERS = ('backbone.branches.', 'branches.')


def find_backbone_state(
    checkpoint: Mapping[str, Any], module: nn.Module, path: str, prefix: str | None = None
) -> dict[str, Tensor]:
    """Return a backbone's own weights out of a checkpoint.

    Args:
        checkpoint: what was read.
        module: the backbone they are for.
        path: the file's name, for messages.
        prefix: where the backbone is in it. Defaults to None: found by itself, also as the only branch of an expansion
            stage.

    Raises:
        CheckpointError: there are none: of another architecture, several branches, or nothing where ``prefix`` says.
    """
    content = state_dict_of(checkpoint)
    state = backbone_state(content, module, prefix)
    branches = {} if hasattr(module, 'branches') else _branches_in(content)
    if branches:
        _check_not_pruned(checkpoint, path)
    if state:
        return state
    if prefix is None and len(branches) == 1:
        prefix = next(iter(branches.values()))
        state = backbone_state(content, module, prefix)
    return state or _none_found(content, module, path, prefix, branches)


def _branches_in(content: State) -> dict[str, str]:
    """Return the prefixes of the backbones of an expansion stage's branches, by the branches' names."""
    for holder in _HOLDERS:
        names = sorted({key.removeprefix(holder).split('.')[0] for key in content if key.startswith(holder)})
        if names:
            return {name: f'{holder}{name}.backbone' for name in names}
    return {}


def _check_not_pruned(checkpoint: Mapping[str, Any], path: str) -> None:
    widths = recorded_widths(checkpoint)
    if widths:
        raise CheckpointError(
            f'checkpoint {path} was pruned, {len(widths)} of its inner widths are narrower: its branches are no '
            f"backbones of their own any more. Give the backbone type='XLearnerExpandedBackbone' with the branches, "
            f"links and widths={widths} of its metadata: xlearner_mm.get_backbone('{path}').meta['backbone']"
        )


def _none_found(
    content: State, module: nn.Module, path: str, prefix: str | None, branches: Mapping[str, str]
) -> dict[str, Tensor]:
    kind = type(module).__name__
    if prefix is None and branches:
        name, where = next(iter(branches.items()))
        raise CheckpointError(
            f'checkpoint {path} holds the branches {list(branches)} of an expansion stage: export one '
            f"(tools/export_backbone.py --branch {name}), or, in an init_cfg, name it by prefix='{where}'"
        )
    if prefix is None:
        raise CheckpointError(f'checkpoint {path} holds nothing of a {kind}: {_such_as(content)}')
    below = {key for key in content if key.startswith(prefix.rstrip('.') + '.')}
    if below:
        raise CheckpointError(
            f"checkpoint {path} holds below prefix '{prefix}' a backbone of another architecture than {kind}: "
            f'{_such_as(below)}'
        )
    places = f'its branches are at {list(branches.values())}' if branches else _such_as(content)
    raise CheckpointError(f"checkpoint {path} holds nothing below prefix '{prefix}': {places}")


def _such_as(keys: Any) -> str:
    first = next(iter(sorted(keys)), None)
    return 'it holds no tensors' if first is None else f'its keys are such as {first}'
