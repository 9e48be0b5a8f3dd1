"""The deep stem of a ResNet as timm names it."""

from __future__ import annotations

from torch import Tensor

from xlearner_mm.transfer.checkpoint.weights import State

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
