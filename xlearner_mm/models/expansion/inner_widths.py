"""Widths within blocks and links, which no level, head or other branch sees: what pruning may narrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from xlearner_mm.checkpoint import recorded_widths
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.expansion.reconciliation import ReconciliationLink
from xlearner_mm.models.norms import STATISTICS, is_batch_norm


@dataclass(frozen=True)
class InnerWidth:
    """The channels between two convolutions that nothing else reads.

        conv -> norm -> ReLU -> consumer

    Args:
        conv: the convolution that makes them.
        norm: its BN.
        consumer: the one convolution that reads them.
    """

    conv: nn.Conv2d
    norm: Any
    consumer: nn.Conv2d

    @property
    def channels(self) -> int:
        """How many they are."""
        return self.conv.out_channels

    def parameters(self) -> list[tuple[Tensor, int]]:
        """All parameters with the dimension along which these channels lie."""
        own = [self.conv.weight, self.conv.bias, self.norm.weight, self.norm.bias]
        return [(p, 0) for p in own if p is not None] + [(self.consumer.weight, 1)]

    def keep(self, kept: Tensor) -> None:
        """Drop all channels but ``kept``. Parameters stay the same objects, so optimizers and hooks keep them.

        Args:
            kept: indices ``(N,)`` of the channels that stay, ascending.
        """
        for parameter, dim in self.parameters():
            # A narrowed gradient would be of the old shape.
            parameter.grad = None
            parameter.data = parameter.data.index_select(dim, kept.to(parameter.device))
        for name in STATISTICS:
            statistic = getattr(self.norm, name)
            if statistic is not None:
                setattr(self.norm, name, statistic.index_select(0, kept.to(statistic.device)))
        self.conv.out_channels = self.norm.num_features = self.consumer.in_channels = len(kept)


def inner_widths(backbone: nn.Module) -> dict[str, InnerWidth]:
    """Return the inner widths of an expanded backbone by the name of the convolution that makes them.

    They are conv1 and conv2 of bottlenecks, conv1 of basic blocks, and those within the chains of links. Blocks with
    plugins, grouped or deformable convolutions or norms other than BN have none here, nor have Swin and ConvNeXt.
    """
    found: dict[str, InnerWidth] = {}
    for prefix, module in backbone.named_modules():
        for name, conv, norm, consumer in _inner_of(module):
            if _is_plain(conv) and _is_plain(consumer) and norm is not None and is_batch_norm(norm):
                found[f'{prefix}.{name}'] = InnerWidth(conv, norm, consumer)
    return found


def narrow_to(backbone: nn.Module, widths: Mapping[str, int]) -> None:
    """Give an expanded backbone the shapes that pruning left another of its kind.

    Args:
        backbone: of the same branches and links.
        widths: channels by inner width; those not named stay.

    Raises:
        ConfigError: an inner width that the backbone does not have, or that would have to grow.
    """
    own = inner_widths(backbone)
    unknown = sorted(set(widths) - set(own))
    if unknown:
        raise ConfigError(f'widths of {unknown[:4]} are not inner widths of this expanded backbone, of other branches?')
    for name, channels in widths.items():
        if not 1 <= channels <= own[name].channels:
            raise ConfigError(f'widths: {name} has {own[name].channels} channels and cannot have {channels}')
        if channels < own[name].channels:
            own[name].keep(torch.arange(channels))


def narrow_as(backbone: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Give an expanded backbone the shapes of a training checkpoint of pruning, before its weights are loaded.

    Args:
        backbone: as its config builds it.
        checkpoint: what was read; of another stage, or of before pruning, it changes nothing.

    Raises:
        CheckpointError: its widths are of other branches or links.
    """
    try:
        narrow_to(backbone, recorded_widths(checkpoint))
    except ValueError as error:
        raise CheckpointError(f'the checkpoint is of another expanded backbone, pruned: {error}') from error


def _inner_of(module: nn.Module) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield the candidates within a block or link: name, convolution, norm, consumer."""
    if isinstance(module, ReconciliationLink):
        chain = [(name, m) for name, m in module.named_modules() if isinstance(m, ConvModule)]
        for (name, first), (_, second) in pairwise(chain):
            yield f'{name}.conv', first.conv, first.norm, second.conv
    elif getattr(module, 'conv2', None) is not None and not getattr(module, 'with_plugins', False):
        for i in (1, 2):
            conv, norm, consumer = (getattr(module, name, None) for name in (f'conv{i}', f'norm{i}', f'conv{i + 1}'))
            yield f'conv{i}', conv, norm, consumer


def _is_plain(conv: Any) -> bool:
    # A deformable convolution is a subclass of none, or has offsets made of its input beside it.
    return isinstance(conv, nn.Conv2d) and conv.groups == 1 and not hasattr(conv, 'conv_offset')
