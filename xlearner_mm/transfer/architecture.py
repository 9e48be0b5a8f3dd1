"""Which backbone a checkpoint holds, read off its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlearner_mm.transfer.checkpoint import CheckpointError

_BLOCK = re.compile(r'layer(\d)\.(\d+)\.conv(\d)\.weight$')
# Blocks per level and convolutions per block, as the paper of ResNet numbers its networks.
_DEPTHS: dict[tuple[tuple[int, ...], int], int] = {
    ((2, 2, 2, 2), 2): 18,
    ((3, 4, 6, 3), 2): 34,
    ((3, 4, 6, 3), 3): 50,
    ((3, 4, 23, 3), 3): 101,
    ((3, 8, 36, 3), 3): 152,
}


@dataclass(frozen=True)
class Architecture:
    """A plain ResNet.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stem_channels: of the first convolution.
        base_channels: of the blocks of level 0; half of ResNet-50's 64 is HalfResNet-50.
    """

    depth: int
    stem_channels: int
    base_channels: int

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four levels."""
        first = self.base_channels * (4 if self.depth >= 50 else 1)
        return tuple(first * 2**level for level in range(4))

    def settings(self) -> dict[str, Any]:
        """Return the arguments of ``XLearnerResNet`` that it stands for."""
        return {
            'depth': self.depth,
            'stem_channels': self.stem_channels,
            'base_channels': self.base_channels,
        }


def architecture_of(state: Mapping[str, Tensor], what: str) -> Architecture:
    """Return the ResNet that a backbone's own weights are of.

    Args:
        state: its weights, keys as the ResNet's own (``conv1.weight``, ``layer1.0.conv1.weight``, ...).
        what: name of their origin, for messages.

    Raises:
        CheckpointError: not a plain ResNet of a known depth.
    """
    blocks: dict[int, set[int]] = {}
    convolutions = 0
    for key in state:
        found = _BLOCK.match(key)
        if found:
            level, block, convolution = (int(number) for number in found.groups())
            blocks.setdefault(level, set()).add(block)
            convolutions = max(convolutions, convolution)
    counts = tuple(len(blocks[level]) for level in sorted(blocks))
    if (counts, convolutions) not in _DEPTHS or 'conv1.weight' not in state:
        raise CheckpointError(
            f'{what} holds no plain ResNet: {counts or "no"} blocks of {convolutions} convolutions'
            f'{"" if "conv1.weight" in state else ", no conv1.weight"}; the suite transfers ResNet-18 to ResNet-152'
        )
    return Architecture(
        depth=_DEPTHS[counts, convolutions],
        stem_channels=state['conv1.weight'].shape[0],
        base_channels=state['layer1.0.conv1.weight'].shape[0],
    )
