"""Strict loading of weights: all of them, or an error that lists the differences."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.checkpoint.metadata import recorded_widths
from xlearner_mm.checkpoint.reading import read_checkpoint
from xlearner_mm.checkpoint.stem import stem_named_as
from xlearner_mm.checkpoint.weights import STUDENT, State, branch_prefixes, find_backbone_weights, state_dict_of
from xlearner_mm.errors import CheckpointError

SAME_ARCHITECTURE = 'give a checkpoint of this very architecture'
"""Fix for a checkpoint that does not fit."""

_ON_ONE_LINE = 8


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
        path: an export, a squeeze checkpoint or a training checkpoint.
        prefix: the backbone's prefix in it. Defaults to None: found automatically.
        strict: raise when the checkpoint lacks a parameter or statistic of the backbone; else log those, which keep
            their values. Defaults to True.
        remedy: fix for missing keys, for messages. Defaults to :data:`SAME_ARCHITECTURE`.

    Returns:
        The checkpoint's metadata; empty where it has none.

    Raises:
        CheckpointError: unreadable, of another shape, or (``strict``) incomplete.
    """
    checkpoint = read_checkpoint(path)
    what = f'checkpoint {path}'
    renamed = stem_named_as(module, find_backbone_state(checkpoint, module, path, prefix), what, strict)
    own_modules = {key.split('.')[0] for key in module.state_dict()}
    # A head of a classifier or detector beside the backbone is accepted; a block of a deeper backbone is not.
    state = {key: value for key, value in renamed.items() if key.split('.')[0] in own_modules}
    if strict:
        load_strictly(module, state, what, remedy)
    else:
        _check_shapes(module, state, what)
        _log_differences(module, renamed, state, what)
        module.load_state_dict(state, strict=False)
    return dict(checkpoint.get('meta') or {})


def load_strictly(module: nn.Module, state: State, what: str, remedy: str = SAME_ARCHITECTURE) -> None:
    """Load ``state``, which must hold all weights of a module and nothing else; see :func:`check_fits`."""
    check_fits(module, state, what, remedy)
    module.load_state_dict(dict(state), strict=False)


def check_fits(module: nn.Module, state: State, what: str, remedy: str = SAME_ARCHITECTURE) -> None:
    """Check that ``state`` holds all weights of a module and nothing else.

    Args:
        module: the module.
        state: the weights.
        what: name of their origin, for messages.
        remedy: fix for missing keys. Defaults to :data:`SAME_ARCHITECTURE`.

    Raises:
        CheckpointError: missing or unexpected keys, or shapes that differ; lists them.
    """
    _check_shapes(module, state, what)
    missing, unexpected = _missing(module, state), sorted(set(state) - set(module.state_dict()))
    if missing or unexpected:
        raise CheckpointError(
            f'{what} does not fit {type(module).__name__}: '
            f'{_listed("missing", missing)}{_listed("not of this model", unexpected)}'
            f'{remedy if missing else SAME_ARCHITECTURE}'
        )


def _missing(module: nn.Module, state: State) -> list[str]:
    return sorted({key for key in module.state_dict() if not key.endswith('num_batches_tracked')} - set(state))


def _log_differences(module: nn.Module, offered: State, loaded: State, what: str) -> None:
    missing, unused = _missing(module, loaded), sorted(set(offered) - set(module.state_dict()))
    if missing or unused:
        listed = _listed_in_full('missing, which keep their random initialization', missing)
        listed += _listed_in_full('not used', unused)
        line = f'{type(module).__name__}: {what} is loaded with strict=False: {listed}'.rstrip()
        print_log(line, 'current', logging.WARNING)


def _check_shapes(module: nn.Module, state: State, what: str) -> None:
    differing = [
        f'{key} is {tuple(state[key].shape)}, expected {tuple(own.shape)}'
        for key, own in module.state_dict().items()
        if key in state and state[key].shape != own.shape
    ]
    if differing:
        raise CheckpointError(
            f'{what} has another shape than {type(module).__name__}: '
            f'{_listed("differing", differing)}check depth, base_channels and stem_channels'
        )


def _listed(label: str, keys: Sequence[str]) -> str:
    """Return the number of keys and the first few of them in one line, for errors."""
    if not keys:
        return ''
    more = len(keys) - _ON_ONE_LINE
    return f'{len(keys)} {label}: {"; ".join(keys[:_ON_ONE_LINE])}{f" and {more} more" if more > 0 else ""}. '


def _listed_in_full(label: str, keys: Sequence[str]) -> str:
    """Return all keys, for logs: many of them one per line."""
    if len(keys) <= _ON_ONE_LINE:
        return _listed(label, keys)
    return f'{len(keys)} {label}:' + ''.join(f'\n  {key}' for key in keys) + '\n'


def check_backbone(state: Mapping[str, Any], own: Mapping[str, Any], filename: str) -> None:
    """Check that a training starts from the whole of its backbone; heads of other classes may start at random.

    Args:
        state: weights of the checkpoint.
        own: weights of the model.
        filename: of the checkpoint, for messages.

    Raises:
        CheckpointError: weights of the backbone are missing, or of another shape.
    """
    backbone = [key for key in own if key.startswith(('backbone.', STUDENT)) and not key.endswith('batches_tracked')]
    other = [key for key in backbone if key in state and state[key].shape != own[key].shape]
    if other:
        found, expected = tuple(state[other[0]].shape), tuple(own[other[0]].shape)
        raise CheckpointError(
            f'load_from: checkpoint {filename} holds another backbone: {other[0]} is {found}, expected {expected}, and '
            f'{len(other) - 1} more differ; set depth and widths as its metadata says, or, to continue pruning, add '
            'PruningHook'
        )
    missing = [key for key in backbone if key not in state]
    if missing:
        raise CheckpointError(
            f'load_from: checkpoint {filename} lacks {len(missing)} of the {len(backbone)} weights of the backbone, '
            f'which would start at random: {", ".join(missing[:8])}{", ..." if len(missing) > 8 else ""}; give a '
            "checkpoint of this very backbone, or load the part that it holds by init_cfg=dict(type='Pretrained', "
            'checkpoint=...) of that part'
        )


def find_backbone_state(
    checkpoint: Mapping[str, Any], module: nn.Module, path: str, prefix: str | None = None
) -> dict[str, Tensor]:
    """Return a backbone's weights in a checkpoint, without prefix.

    Args:
        checkpoint: its content.
        module: the backbone.
        path: file name, for messages.
        prefix: the backbone's prefix. Defaults to None: found automatically.

    Raises:
        CheckpointError: none found: another architecture, several branches, or nothing below ``prefix``.
    """
    content = state_dict_of(checkpoint)
    branches = {} if hasattr(module, 'branches') else branch_prefixes(content)
    if branches and (widths := recorded_widths(checkpoint)):
        raise CheckpointError(
            f'checkpoint {path} was pruned, {len(widths)} of its inner widths are narrower: its branches are no '
            f"independent backbones. Use type='XLearnerExpandedBackbone' with the branches, links and widths={widths} "
            f"of its metadata: xlearner_mm.get_backbone('{path}').meta['backbone']"
        )
    _, state = find_backbone_weights(content, module.state_dict().keys(), prefix)
    if state:
        return state
    kind = type(module).__name__
    places = {name: found.rstrip('.') for name, found in branches.items()}
    if prefix is None and places:
        name, where = next(iter(places.items()))
        raise CheckpointError(
            f'checkpoint {path} holds the branches {list(places)} of an expansion stage: export one '
            f"(tools/export_backbone.py --branch {name}), or, in an init_cfg, name it by prefix='{where}'"
        )
    if prefix is None:
        raise CheckpointError(f'checkpoint {path} holds nothing of a {kind}: {_such_as(content)}')
    inside = {key for key in content if key.startswith(prefix.rstrip('.') + '.')}
    if inside:
        raise CheckpointError(
            f"checkpoint {path} holds below prefix '{prefix}' a backbone of another architecture than {kind}: "
            f'{_such_as(inside)}'
        )
    found = f'its branches are at {list(places.values())}' if places else _such_as(content)
    raise CheckpointError(f"checkpoint {path} holds nothing below prefix '{prefix}': {found}")


def _such_as(keys: Iterable[str]) -> str:
    first = min(keys, default=None)
    return 'it holds no tensors' if first is None else f'its keys are such as {first}'
