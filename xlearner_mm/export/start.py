"""What a transfer starts from: the backbone in any checkpoint that holds one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xlearner_mm.checkpoint import (
    description_of,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)
from xlearner_mm.checkpoint.weights import PREFIXES
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.stored_backbone import find_backbone

_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class Start:
    """A backbone to transfer.

    Args:
        checkpoint: the file.
        sha256: of the file.
        prefix: where the backbone is in it; '' where its keys are bare or its type finds them itself.
        settings: of the registered backbone, without those that a downstream config chooses.
        channels: of its four levels.
        parameters: number of its learnable values.
        input_normalization: mean, standard deviation and channel order of its input; None where the file does not say.
    """

    checkpoint: str
    sha256: str
    prefix: str
    settings: Mapping[str, Any]
    channels: tuple[int, ...]
    parameters: int
    input_normalization: tuple[list[float], list[float], str] | None = None

    @property
    def expanded(self) -> bool:
        """Whether it is an expanded backbone, as X-Learner_r and _p are transferred."""
        return 'branches' in self.settings

    def backbone(self) -> dict[str, Any]:
        """Return the settings of a backbone that loads it."""
        load = {'type': 'Pretrained', 'checkpoint': self.checkpoint}
        return {**self.settings, 'init_cfg': load | ({'prefix': self.prefix} if self.prefix else {})}

    def normalization(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of its input; empty where the file does not say.

        Raises:
            CheckpointError: it reads images whose channels are in another order than RGB.
        """
        if self.input_normalization is None:
            return {}
        mean, std, order = self.input_normalization
        if order != 'rgb':
            raise CheckpointError(f'{self.checkpoint}: its images are {order.upper()}, the transfer configs feed RGB')
        return {'mean': mean, 'std': std} if mean and std else {}


def read_start(checkpoint: str, branch: str | None = None) -> Start:
    """Find the backbone to transfer in a checkpoint.

    Args:
        checkpoint: an export, a checkpoint of either stage, a published one, or a work directory whose last is taken.
        branch: of an expanded backbone, the branch to transfer. Defaults to None: its only one, or, of several, all of
            them with their links.

    Raises:
        CheckpointError: unreadable, or neither ours nor a plain ResNet.
    """
    path = resolve_checkpoint(checkpoint)
    content = read_checkpoint(path)
    description = description_of(content) or {}
    normalization = description.get('normalization')
    described = description.get('backbone') or {}
    if branch is None and len(described.get('branches', ())) > 1:
        return _expanded(path, normalization)
    prefix, own = _find(state_dict_of(content), branch, path)
    if 'branches' in described:
        described = described['branches'][branch] if branch else next(iter(described['branches'].values()))
    architecture = architecture_of(own, f'checkpoint {path}')
    return Start(
        checkpoint=path,
        sha256=sha256_of(path),
        prefix=prefix,
        settings={
            'type': 'XLearnerResNet',
            **architecture.settings(),
            'style': described.get('style', 'pytorch'),
        },
        channels=architecture.channels,
        parameters=count_parameters(own),
        input_normalization=normalization,
    )


def _expanded(path: str, normalization: tuple[list[float], list[float], str] | None) -> Start:
    stored = find_backbone(path, expanded=True)
    built: Any = stored.build(out_indices=(0, 1, 2, 3))
    return Start(
        checkpoint=path,
        sha256=sha256_of(path),
        prefix='',
        settings=stored.config,
        channels=tuple(built.out_channels),
        parameters=sum(parameter.numel() for parameter in built.parameters()),
        input_normalization=normalization,
    )


def count_parameters(state: Mapping[str, Tensor]) -> int:
    """Return the number of learnable values among a ResNet's own weights."""
    return sum(
        value.numel()
        for key, value in state.items()
        if key.split('.')[0] != 'fc' and not key.endswith(_STATISTICS)
    )  # fmt: skip


@torch.no_grad()
def count_flops(backbone: nn.Module, size: int = 224) -> int:
    """Return the multiply-adds of a backbone for one image of ``size`` x ``size`` pixels: what papers call FLOPs."""
    with FlopCounterMode(display=False) as counter:
        backbone.eval()(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def _find(state: Mapping[str, Tensor], branch: str | None, path: str) -> tuple[str, dict[str, Tensor]]:
    for holder in ('backbone.branches.', 'branches.'):
        branches = sorted({key.removeprefix(holder).split('.')[0] for key in state if key.startswith(holder)})
        if branches:
            prefix = f'{holder}{_choose(branches, branch, path)}.backbone.'
            return prefix, _below(state, prefix)
    if branch is not None:
        raise CheckpointError(f"checkpoint {path} has no branches, '{branch}' is asked for")
    for prefix in ('student.', *PREFIXES, ''):
        if f'{prefix}layer1.0.conv1.weight' in state:
            return prefix, _below(state, prefix)
    raise CheckpointError(f'checkpoint {path} holds no ResNet where ours or published ones have theirs')


def _choose(branches: list[str], branch: str | None, path: str) -> str:
    if branch is None and len(branches) == 1:
        return branches[0]
    if branch is None or branch not in branches:
        wanted = 'it does not describe itself: name one' if branch is None else f"it has no '{branch}'"
        raise CheckpointError(f'checkpoint {path} is an expanded backbone with branches {branches}: {wanted}')
    return branch


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


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
