"""The stem of a ResNet: three convs in a deep one (ResNetV1c, V1d), named by each library in its own way, else one."""

from __future__ import annotations

import re

from torch import Tensor, nn

from xlearner_mm.checkpoint.weights import State
from xlearner_mm.errors import CheckpointError

# mmpretrain builds conv, norm and ReLU as one module (`stem.1.conv`, `stem.1.bn`), mmdet and mmseg as three.
_GROUPED = re.compile(r'stem\.(\d)\.(conv|[bg]n)\.(\w+)')
_FLAT = re.compile(r'stem\.(\d)\.(\w+)')
_GROUP = 3
_POOLED_NORM = re.compile(r'layer\d\.0\.downsample\.2\.weight')


def stem_named_as(module: nn.Module, state: State, what: str, strict: bool = True) -> dict[str, Tensor]:
    """Return a ResNet's weights with its stem named as the module names its own.

    Args:
        module: the backbone that they are for. Of others than ResNets, weights are returned as they are.
        state: the backbone's weights.
        what: name of their origin, for messages.
        strict: whether both must be alike; else weights are left out where one of them is deep and the other plain, or
            only one down-samples by average pools. Defaults to True.

    Raises:
        CheckpointError: (``strict``) they are not alike.
    """
    state, own = from_timm(state), module.state_dict()
    if not hasattr(module, 'deep_stem') or not any(key.startswith('layer1.') for key in state):
        return dict(state)
    deep, wanted = any(key.startswith('stem.') for key in state), any(key.startswith('stem.') for key in own)
    if not strict:
        state = _without_other_pools(own, state)
    elif deep != wanted:
        raise CheckpointError(f'{what} does not fit: {_difference(deep)}')
    else:
        _check_pools(own, state, what)
    if not (deep and wanted) or not state.keys().isdisjoint(key for key in own if key.startswith('stem.')):
        return dict(state)
    rename = flat_name if any(_GROUPED.fullmatch(key) for key in state) else _Grouped(own)
    return {rename(key): value for key, value in state.items()}


def _difference(deep: bool) -> str:
    if deep:
        return (
            'it has the deep stem of ResNetV1c or V1d, but the config builds a plain one: give the backbone '
            "deep_stem=True, or type='XLearnerResNetV1c' (V1d: with avg_down=True, or type='XLearnerResNetV1d')"
        )
    return (
        'it has a plain stem (one 7x7 conv), but the config builds the deep one of ResNetV1c or V1d: remove deep_stem '
        "and avg_down, or give the backbone type='XLearnerResNet'"
    )


def _other_pools(own: State, state: State) -> list[str]:
    """A conv is first in a down-sampling branch, or behind an average pool, and then its norm third."""
    return [key for key in sorted(state.keys() ^ own.keys()) if _POOLED_NORM.fullmatch(key)]


def _without_other_pools(own: State, state: State) -> State:
    others = tuple(key.removesuffix('2.weight') for key in _other_pools(own, state))
    return {key: value for key, value in state.items() if not (others and key.startswith(others))}


def _check_pools(own: State, state: State, what: str) -> None:
    for key in _other_pools(own, state):
        pools = key in state
        raise CheckpointError(
            f'{what} does not fit: it {"down-samples" if pools else "does not down-sample"} by average pools as '
            f'ResNetV1d does: set avg_down={pools}'
        )


def flat_name(key: str) -> str:
    """Return mmdet's and mmseg's name of a part of a deep stem that mmpretrain names ``key``; else ``key``."""
    match = _GROUPED.fullmatch(key)
    if match is None:
        return key
    return f'stem.{_GROUP * int(match[1]) + (match[2] != "conv")}.{match[3]}'


class _Grouped:
    """Names in mmpretrain's way; its norm is named by its kind."""

    def __init__(self, own: State) -> None:
        self.norms = sorted({key.split('.')[2] for key in own if _GROUPED.fullmatch(key)} - {'conv'})

    def __call__(self, key: str) -> str:
        match = _FLAT.fullmatch(key)
        if match is None:
            return key
        group, place = divmod(int(match[1]), _GROUP)
        return f'stem.{group}.{self.norms[0] if place else "conv"}.{match[2]}'


# mmdet's and mmseg's names, and timm's.
_PARTS = {
    'stem.0.': 'conv1.0.',
    'stem.1.': 'conv1.1.',
    'stem.3.': 'conv1.3.',
    'stem.4.': 'conv1.4.',
    'stem.6.': 'conv1.6.',
    'stem.7.': 'bn1.',
}
_ONLY_DEEP = 'conv1.0.weight'


def to_timm(key: str) -> str:
    """Return timm's name of a parameter or statistic that mmdet and mmseg name ``key``."""
    for ours, theirs in _PARTS.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def from_timm(state: State) -> dict[str, Tensor]:
    """Return weights with a deep stem named as mmdet and mmseg do; others as they are."""
    if _ONLY_DEEP not in state:
        return dict(state)
    renamed = dict(state)
    for ours, theirs in _PARTS.items():
        for key in [key for key in renamed if key.startswith(theirs)]:
            renamed[ours + key.removeprefix(theirs)] = renamed.pop(key)
    return renamed
