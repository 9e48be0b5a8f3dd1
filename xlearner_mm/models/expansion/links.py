"""Reconciliation links gamma, and the inner widths of links and blocks that pruning may narrow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from xlearner_mm.checkpoint import recorded_widths
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.norms import STATISTICS, each, is_batch_norm
from xlearner_mm.registry import MODELS


class Link(BaseModule):
    """Base class of links gamma_{j->i}^{k->t}: a sender's features in a receiver's channels and resolution.

    A kind of link is a registered subclass that builds ``self.gamma`` out of :class:`~mmcv.cnn.ConvModule`; configs
    choose it by ``reconciliation=dict(link=dict(type=...))``. It is built with the four arguments of :class:`ConvLink`
    that describe its ends, and with its own settings.

    Args:
        in_stride: pixels of the image per feature of the sender.
        out_stride: the same of the receiver.

    Attributes:
        gamma: the link itself; its output is resized to the receiver's features.
        halvings: how often the resolution must be halved on the way; 0 for links upwards.

    Raises:
        ConfigError: strides whose ratio is not a power of two.
    """

    gamma: nn.Module

    def __init__(self, in_stride: int, out_stride: int) -> None:
        super().__init__()
        halvings = math.log2(out_stride / in_stride)
        if halvings != int(halvings):
            raise ConfigError(f'a link from stride {in_stride} to stride {out_stride} is not a power of two')
        self.halvings = max(int(halvings), 0)

    def init_weights(self) -> None:
        """Start at zero: convolutions from N(0, 1e-3), the last norm's weight 0, so that a new link adds nothing."""
        convs = conv_modules(self)
        for _, conv in convs:
            nn.init.normal_(conv.conv.weight, std=1e-3)
            nn.init.ones_(conv.norm.weight)
            nn.init.zeros_(conv.norm.bias)
        nn.init.zeros_(convs[-1][1].norm.weight)
        self._is_init = True

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map a sender's ``(B, C_j, H_j, W_j)`` to the receiver's ``(B, C_i, H_i, W_i)``, ``size`` being its H, W."""
        return each(resize_to, self.gamma(x), size)

    def inner_widths(self) -> Iterator[tuple[str, InnerWidth]]:
        """Yield the widths that pruning may narrow, by the names of their convolutions. Defaults to none."""
        yield from ()


@MODELS.register_module()
class ConvLink(Link):
    """The paper's link: a chain of 3x3 stride-2 convolutions with norms, and ReLU in between.

    At the same resolution, and upwards (then resized to the nearest), a 1x1 convolution and norm.

    Args:
        in_channels: the sender's channels at its level.
        out_channels: the receiver's channels at its level.
        in_stride: pixels of the image per feature of the sender.
        out_stride: the same of the receiver.
        norm_cfg: normalization layer. Defaults to None: BN.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_stride: int,
        out_stride: int,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(in_stride, out_stride)
        if self.halvings == 0:
            self.gamma = conv_norm(in_channels, out_channels, norm_cfg, last=True)
        else:
            chain = [conv_norm(in_channels, in_channels, norm_cfg, 3) for _ in range(self.halvings - 1)]
            self.gamma = Sequential(*chain, conv_norm(in_channels, out_channels, norm_cfg, 3, last=True))

    def inner_widths(self) -> Iterator[tuple[str, InnerWidth]]:
        """Yield the widths between the convolutions of the chain."""
        return widths_between(conv_modules(self))


@MODELS.register_module()
class BottleneckLink(Link):
    """1x1 convolution to a fraction of the sender's width, the chain of a :class:`ConvLink` there, 1x1 to the receiver.

    Every convolution has a norm, and a ReLU unless it is the last.

    Args:
        in_channels: the sender's channels at its level.
        out_channels: the receiver's channels at its level.
        in_stride: pixels of the image per feature of the sender.
        out_stride: the same of the receiver.
        norm_cfg: normalization layer. Defaults to None: BN.
        reduction: the sender's channels per inner channel. Defaults to 4.

    Raises:
        ConfigError: a reduction that leaves no channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_stride: int,
        out_stride: int,
        norm_cfg: Mapping[str, Any] | None = None,
        reduction: int = 4,
    ) -> None:
        super().__init__(in_stride, out_stride)
        if not 1 <= reduction <= in_channels:
            raise ConfigError(
                f'BottleneckLink: reduction={reduction} must be from 1 to the {in_channels} channels sent'
            )
        inner = in_channels // reduction
        chain = [conv_norm(inner, inner, norm_cfg, 3) for _ in range(self.halvings)]
        self.gamma = Sequential(
            conv_norm(in_channels, inner, norm_cfg), *chain, conv_norm(inner, out_channels, norm_cfg, last=True)
        )

    def inner_widths(self) -> Iterator[tuple[str, InnerWidth]]:
        """Yield the widths between the convolutions."""
        return widths_between(conv_modules(self))


@MODELS.register_module()
class PoolLink(Link):
    """Average pooling, 1x1 convolution and norm: a fraction of the parameters of a :class:`ConvLink`.

    Args:
        in_channels: the sender's channels at its level.
        out_channels: the receiver's channels at its level.
        in_stride: pixels of the image per feature of the sender.
        out_stride: the same of the receiver.
        norm_cfg: normalization layer. Defaults to None: BN.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_stride: int,
        out_stride: int,
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(in_stride, out_stride)
        self.gamma = conv_norm(in_channels, out_channels, norm_cfg, last=True)
        if self.halvings:
            pool = nn.AvgPool2d(2**self.halvings, ceil_mode=True, count_include_pad=False)
            self.gamma = Sequential(pool, self.gamma)


def conv_norm(
    in_channels: int, out_channels: int, norm_cfg: Mapping[str, Any] | None, kernel: int = 1, last: bool = False
) -> ConvModule:
    """Return a convolution with norm for a link: 1x1, or of stride 2; with ReLU unless it is the last."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel,
        stride=1 if kernel == 1 else 2,
        padding=kernel // 2,
        norm_cfg=dict(norm_cfg or {'type': 'BN'}),
        act_cfg=None if last else {'type': 'ReLU'},
    )


def widths_between(chain: Iterable[tuple[str, ConvModule]]) -> Iterator[tuple[str, InnerWidth]]:
    """Yield the widths between successive convolutions, for links that are a chain of them."""
    for (name, first), (_, second) in pairwise(chain):
        yield f'{name}.conv', InnerWidth(first.conv, first.norm, second.conv)


def conv_modules(link: nn.Module) -> list[tuple[str, ConvModule]]:
    """Return the convolutions of a link by name, in their order."""
    return [(name, module) for name, module in link.named_modules() if isinstance(module, ConvModule)]


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map of a size: itself, or its nearest neighbors."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='nearest')


@dataclass(frozen=True)
class InnerWidth:
    """The channels between two convolutions that nothing else reads.

        conv -> norm -> ReLU -> consumer

    Args:
        conv: the convolution that produces them.
        norm: its norm.
        consumer: the one convolution that reads them.
    """

    conv: nn.Conv2d
    norm: Any
    consumer: nn.Conv2d

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.conv.out_channels

    @property
    def prunable(self) -> bool:
        """Return whether they can be narrowed: between plain convolutions, with a batch norm."""
        plain = _is_plain(self.conv) and _is_plain(self.consumer)
        return plain and self.norm is not None and is_batch_norm(self.norm)

    def parameters(self) -> list[tuple[Tensor, int]]:
        """Return all parameters with the dimension along which these channels lie."""
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
    """Return the inner widths of an expanded backbone by the name of the convolution that produces them.

    They are conv1 and conv2 of bottlenecks, conv1 of basic blocks, and those that links declare. Blocks with plugins,
    grouped or deformable convolutions or norms other than BN have none, nor have Swin and ConvNeXt.
    """
    found: dict[str, InnerWidth] = {}
    for prefix, module in backbone.named_modules():
        widths = module.inner_widths() if isinstance(module, Link) else _of_block(module)
        found.update({f'{prefix}.{name}': width for name, width in widths if width.prunable})
    return found


def _of_block(block: nn.Module) -> Iterator[tuple[str, InnerWidth]]:
    if getattr(block, 'conv2', None) is not None and not getattr(block, 'with_plugins', False):
        for i in (1, 2):
            parts: list[Any] = [getattr(block, name, None) for name in (f'conv{i}', f'norm{i}', f'conv{i + 1}')]
            yield f'conv{i}', InnerWidth(*parts)


def _is_plain(conv: Any) -> bool:
    # A deformable convolution is not a Conv2d, or computes offsets from its input.
    return isinstance(conv, nn.Conv2d) and conv.groups == 1 and not hasattr(conv, 'conv_offset')


def narrow_to(backbone: nn.Module, widths: Mapping[str, int]) -> None:
    """Narrow inner widths to the shapes that pruning left another expanded backbone of this kind.

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
    """Narrow an expanded backbone as a pruning checkpoint records it, before its weights are loaded.

    Args:
        backbone: as its config builds it.
        checkpoint: its content; one of another stage, or from before pruning, changes nothing.

    Raises:
        CheckpointError: its widths are of other branches or links.
    """
    try:
        narrow_to(backbone, recorded_widths(checkpoint))
    except ConfigError as error:
        raise CheckpointError(f'the checkpoint is of another expanded backbone, pruned: {error}') from error
