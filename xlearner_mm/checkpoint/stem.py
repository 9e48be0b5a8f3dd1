"""Names of ResNet stems: each library names the three convs of a deep one (ResNetV1c, V1d) in its own way."""

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
# mmdet's and mmseg's names -> timm's.
_TIMM = {
    'stem.0.': 'conv1.0.',
    'stem.1.': 'conv1.1.',
    'stem.3.': 'conv1.3.',
    'stem.4.': 'conv1.4.',
    'stem.6.': 'conv1.6.',
    'stem.7.': 'bn1.',
}


def stem_named_as(module: nn.Module, state: State, what: str, strict: bool = True) -> dict[str, Tensor]:
    """Return a ResNet's weights with the stem's keys as the module names them.

    Args:
        module: the backbone. Weights of others than ResNets are returned unchanged.
        state: the backbone's weights.
        what: name of their origin, for messages.
        strict: raise where stems or shortcuts differ; else leave out the weights of shortcuts that differ. Defaults to
            True.

    Raises:
        CheckpointError: (``strict``) one stem is deep, or only one down-samples by average pools.
    """
    state, own = _from_timm(state), module.state_dict()
    if not hasattr(module, 'deep_stem') or not any(key.startswith('layer1.') for key in state):
        return dict(state)
    deep, wanted = any(key.startswith('stem.') for key in state), any(key.startswith('stem.') for key in own)
    # A conv is first in a down-sampling branch, or behind an average pool, and then its norm third.
    pooled = [key for key in sorted(state.keys() ^ own.keys()) if _POOLED_NORM.fullmatch(key)]
    if not strict:
        others = tuple(key.removesuffix('2.weight') for key in pooled)
        state = {key: value for key, value in state.items() if not key.startswith(others)} if others else state
    elif deep and not wanted:
        raise CheckpointError(
            f'{what} does not fit: it has the deep stem of ResNetV1c or V1d, but the config builds a plain one: give '
            "the backbone deep_stem=True, or type='XLearnerResNetV1c' (V1d: with avg_down=True, or "
            "type='XLearnerResNetV1d')"
        )
    elif wanted and not deep:
        raise CheckpointError(
            f'{what} does not fit: it has a plain stem (one 7x7 conv), but the config builds the deep one of ResNetV1c '
            "or V1d: remove deep_stem and avg_down, or give the backbone type='XLearnerResNet'"
        )
    elif pooled:
        pools = pooled[0] in state
        raise CheckpointError(
            f'{what} does not fit: it {"down-samples" if pools else "does not down-sample"} by average pools as '
            f'ResNetV1d does: set avg_down={pools}'
        )
    if not (deep and wanted) or not state.keys().isdisjoint(key for key in own if key.startswith('stem.')):
        return dict(state)
    if any(_GROUPED.fullmatch(key) for key in state):
        return {flat_name(key): value for key, value in state.items()}
    norms = sorted({key.split('.')[2] for key in own if _GROUPED.fullmatch(key)} - {'conv'})
    return {_grouped_name(key, norms[0]): value for key, value in state.items()}


def flat_name(key: str) -> str:
    """Return mmdet's and mmseg's name of a part of a deep stem that mmpretrain names ``key``; else ``key``."""
    match = _GROUPED.fullmatch(key)
    return f'stem.{_GROUP * int(match[1]) + (match[2] != "conv")}.{match[3]}' if match else key


def _grouped_name(key: str, norm: str) -> str:
    match = _FLAT.fullmatch(key)
    if match is None:
        return key
    group, place = divmod(int(match[1]), _GROUP)
    return f'stem.{group}.{norm if place else "conv"}.{match[2]}'


def to_timm(key: str) -> str:
    """Return timm's name of a parameter or statistic that mmdet and mmseg name ``key``."""
    for ours, theirs in _TIMM.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def _from_timm(state: State) -> dict[str, Tensor]:
    renamed = dict(state)
    if 'conv1.0.weight' in state:
        for ours, theirs in _TIMM.items():
            for key in [key for key in renamed if key.startswith(theirs)]:
                renamed[ours + key.removeprefix(theirs)] = renamed.pop(key)
    return renamed
