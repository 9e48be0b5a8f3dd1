"""The backbone that a transfer starts from, in any checkpoint that holds one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlearner_mm.checkpoint import (
    below,
    branch_prefixes,
    description_of,
    find_backbone_weights,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.stored_backbone import find_backbone
from xlearner_mm.normalization import RGB, Normalization

_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
_BLOCK = re.compile(r'layer(\d)\.(\d+)\.conv(\d)\.weight$')
_FIRST_BLOCK = 'layer1.0.conv1.weight'
# Blocks per level and convolutions per block -> depth.
_DEPTHS: dict[tuple[tuple[int, ...], int], int] = {
    ((2, 2, 2, 2), 2): 18,
    ((3, 4, 6, 3), 2): 34,
    ((3, 4, 6, 3), 3): 50,
    ((3, 4, 23, 3), 3): 101,
    ((3, 8, 36, 3), 3): 152,
}


@dataclass(frozen=True)
class Start:
    """A backbone to transfer.

    Args:
        checkpoint: the file.
        sha256: of the file.
        prefix: of the backbone's keys; '' where they have none or its type finds them itself.
        settings: of the registered backbone, without those that a downstream config chooses.
        channels: of its four levels.
        parameters: number of its learnable values.
        input_normalization: of its input; None where the file does not record it.
    """

    checkpoint: str
    sha256: str
    prefix: str
    settings: Mapping[str, Any]
    channels: tuple[int, ...]
    parameters: int
    input_normalization: Normalization | None = None

    @property
    def expanded(self) -> bool:
        """True for an expanded backbone, as of X-Learner_r and _p."""
        return 'branches' in self.settings

    def backbone(self) -> dict[str, Any]:
        """Return the settings of a backbone that loads it."""
        load = {'type': 'Pretrained', 'checkpoint': self.checkpoint}
        return {**self.settings, 'init_cfg': load | ({'prefix': self.prefix} if self.prefix else {})}

    def normalization(self) -> dict[str, list[float]]:
        """Return ``mean`` and ``std`` of its input; empty where the file does not record them.

        Raises:
            CheckpointError: it reads images whose channels are in another order than RGB.
        """
        if self.input_normalization is None:
            return {}
        mean, std, order = self.input_normalization.record()
        if order != RGB:
            raise CheckpointError(f'{self.checkpoint}: its images are {order.upper()}, the transfer configs feed RGB')
        return {'mean': mean, 'std': std} if mean and std else {}


def read_start(checkpoint: str, branch: str | None = None) -> Start:
    """Find the backbone to transfer in a checkpoint.

    Args:
        checkpoint: an export, a checkpoint of either stage, a published one, or a work directory (its last one).
        branch: of an expanded backbone, the branch to transfer. Defaults to None: its only one, or, of several, all of
            them with their links, as after pruning.

    Raises:
        CheckpointError: unreadable, neither ours nor a plain ResNet, or pruned and a branch is named.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    description = description_of(content) or {}
    normalization = Normalization.parse(description['normalization']) if description else None
    described = description.get('backbone') or {}
    if described.get('widths') or (branch is None and len(described.get('branches', ())) > 1):
        stored = find_backbone(path, branch, expanded=None)
        built: Any = stored.build(out_indices=(0, 1, 2, 3))
        channels, parameters = tuple(built.out_channels), sum(p.numel() for p in built.parameters())
        return Start(path, sha256_of(path), '', stored.config, channels, parameters, normalization)
    prefix, own = _find(state_dict_of(content), branch, path)
    if 'branches' in described:
        described = described['branches'][branch] if branch else next(iter(described['branches'].values()))
    settings = resnet_settings(own, f'checkpoint {path}')
    return Start(
        checkpoint=path,
        sha256=sha256_of(path),
        prefix=prefix,
        settings={'type': 'XLearnerResNet', **settings, 'style': described.get('style', 'pytorch')},
        channels=resnet_channels(settings['depth'], settings['base_channels']),
        parameters=count_parameters(own),
        input_normalization=normalization,
    )


def resnet_channels(depth: int, base_channels: int) -> tuple[int, ...]:
    """Return the channels of a ResNet's four levels."""
    return tuple(base_channels * (4 if depth >= 50 else 1) * 2**level for level in range(4))


def count_parameters(state: Mapping[str, Tensor]) -> int:
    """Return the number of learnable values among a ResNet's own weights."""
    learned = (value for key, value in state.items() if key.split('.')[0] != 'fc' and not key.endswith(_STATISTICS))
    return sum(value.numel() for value in learned)


def _find(state: Mapping[str, Tensor], branch: str | None, path: str) -> tuple[str, dict[str, Tensor]]:
    branches = branch_prefixes(state)
    if branches:
        if branch is None and len(branches) == 1:
            branch = next(iter(branches))
        if branch is None or branch not in branches:
            wanted = 'it does not describe itself: name one' if branch is None else f"it has no '{branch}'"
            raise CheckpointError(f'checkpoint {path} is an expanded backbone with branches {list(branches)}: {wanted}')
        return branches[branch], below(state, branches[branch])
    if branch is not None:
        raise CheckpointError(f"checkpoint {path} has no branches, '{branch}' is asked for")
    prefix, own = find_backbone_weights(state, (_FIRST_BLOCK,))
    if not own:
        raise CheckpointError(f'checkpoint {path} holds no ResNet under any known prefix, ours or published')
    return prefix, own


def resnet_settings(state: Mapping[str, Tensor], what: str) -> dict[str, int]:
    """Return ``depth``, ``stem_channels`` and ``base_channels`` of the plain ResNet that weights belong to.

    Args:
        state: a ResNet's own weights, without prefix.
        what: name of their origin, for messages.

    Raises:
        CheckpointError: not a plain ResNet of a known depth.
    """
    blocks: dict[int, set[int]] = {}
    convolutions = 0
    for key in state:
        if found := _BLOCK.match(key):
            level, block, convolution = (int(number) for number in found.groups())
            blocks.setdefault(level, set()).add(block)
            convolutions = max(convolutions, convolution)
    counts = tuple(len(blocks[level]) for level in sorted(blocks))
    if (counts, convolutions) not in _DEPTHS or 'conv1.weight' not in state:
        raise CheckpointError(
            f'{what} holds no plain ResNet: {counts or "no"} blocks of {convolutions} convolutions'
            f'{"" if "conv1.weight" in state else ", no conv1.weight"}; the suite transfers ResNet-18 to ResNet-152'
        )
    return {
        'depth': _DEPTHS[counts, convolutions],
        'stem_channels': state['conv1.weight'].shape[0],
        'base_channels': state[_FIRST_BLOCK].shape[0],
    }
