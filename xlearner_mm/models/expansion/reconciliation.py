"""Reconciliation links gamma and their topology."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, Sequential
from torch import Tensor, nn

from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.models.ragged import each

TOPOLOGIES = ('lower', 'same', 'higher', 'all', 'none')
FUSES = ('stream', 'output')
LINKS = ('conv3x3', 'pool1x1')


class LinkKey(NamedTuple):
    """The end points of one link: gamma_{j->i}^{k->t}."""

    sender: str
    sender_level: int
    receiver: str
    receiver_level: int

    @property
    def module_name(self) -> str:
        """Name within a module dict and thus in checkpoints."""
        return f'{self.sender}_{self.sender_level}__{self.receiver}_{self.receiver_level}'


@dataclass(frozen=True)
class Reconciliation:
    """Settings of the links.

    Args:
        topology: which levels j of a sender reach level i of a receiver: ``'lower'`` (j <= i, the paper's),
            ``'same'`` (j = i), ``'higher'`` (j >= i), ``'all'`` or ``'none'``. Defaults to ``'lower'``.
        link_levels: the receiving levels. Defaults to (0, 1, 2): the last level is reached through the
            fused stream.
        include_self: whether a branch also sends to itself, as the formula's sum over all k. Defaults to False.
        detach: whether senders' features are cut from the gradient, sg(E). Defaults to True.
        fuse: ``'stream'``: F feeds the next stage; ``'output'``: F only leaves. Defaults to ``'stream'``.
        link: ``'conv3x3'``: chain of 3x3 stride-2 convolutions; ``'pool1x1'``: average pool and 1x1, a
            fraction of the parameters. Defaults to ``'conv3x3'``.
        norm_cfg: the links' normalization layer. Defaults to BN.

    Raises:
        ConfigError: an unknown choice, or a topology that needs a level before it is computed.
    """

    topology: str = 'lower'
    link_levels: Sequence[int] = (0, 1, 2)
    include_self: bool = False
    detach: bool = True
    fuse: str = 'stream'
    link: str = 'conv3x3'
    norm_cfg: Mapping[str, Any] = field(default_factory=lambda: {'type': 'BN'})

    def __post_init__(self) -> None:
        for name, choices in (('topology', TOPOLOGIES), ('fuse', FUSES), ('link', LINKS)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"reconciliation: unknown {name} '{value}', choose from {choices}")
        if self.fuse == 'stream' and self.topology in ('higher', 'all'):
            raise ConfigError(
                f"reconciliation: topology='{self.topology}' needs fuse='output': a higher level of a sender "
                'is not computed yet when the stream of a lower level is fused'
            )

    @classmethod
    def parse(cls, settings: Mapping[str, Any] | Reconciliation | None) -> Reconciliation:
        """Build from a config dict; unknown keys are refused with the nearest known one."""
        if isinstance(settings, Reconciliation):
            return settings
        refuse_unknown('reconciliation', settings or {}, [f.name for f in fields(cls)])
        return cls(**dict(settings or {}))

    def sends(self, sender_level: int, receiver_level: int) -> bool:
        """Whether the topology links level j of a sender to level i of a receiver."""
        return {
            'lower': sender_level <= receiver_level,
            'same': sender_level == receiver_level,
            'higher': sender_level >= receiver_level,
            'all': True,
            'none': False,
        }[self.topology]

    def link_keys(self, branches: Mapping[str, int]) -> list[LinkKey]:
        """List all links between branches.

        Args:
            branches: branch name -> its number of levels.

        Raises:
            ConfigError: a link level that a branch does not have.
        """
        for name, levels in branches.items():
            beyond = [i for i in self.link_levels if not 0 <= i < levels]
            if beyond and self.topology != 'none':
                raise ConfigError(
                    f"reconciliation: link_levels {beyond} are beyond branch '{name}', "
                    f'whose levels are 0 to {levels - 1}'
                )
        return [
            LinkKey(sender, j, receiver, i)
            for receiver in branches
            for i in self.link_levels
            for sender, levels in branches.items()
            if sender != receiver or self.include_self
            for j in range(levels)
            if self.sends(j, i)
        ]


class ReconciliationLink(BaseModule):
    """One link gamma_{j->i}^{k->t}: a sender's features in a receiver's channels and resolution.

    Same resolution: 1x1 convolution and norm. Down: a chain of 3x3 stride-2 convolutions and norms with ReLU in
    between (``conv3x3``), or average pooling before the 1x1 (``pool1x1``). Up: 1x1, norm, nearest upsampling.
    The last norm's weight starts at zero, so a new link adds nothing.

    Args:
        in_channels: the sender's channels at its level.
        out_channels: the receiver's channels at its level.
        in_stride: pixels of the image per feature of the sender.
        out_stride: the same of the receiver.
        link: ``'conv3x3'`` or ``'pool1x1'``. Defaults to ``'conv3x3'``.
        norm_cfg: normalization layer. Defaults to BN.

    Raises:
        ConfigError: strides whose ratio is not a power of two.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_stride: int,
        out_stride: int,
        link: str = 'conv3x3',
        norm_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        halvings = math.log2(out_stride / in_stride)
        if halvings != int(halvings):
            raise ConfigError(f'a link from stride {in_stride} to stride {out_stride} is not a power of two')
        norm_cfg = dict(norm_cfg or {'type': 'BN'})
        steps = max(int(halvings), 0)
        if steps == 0:
            self.gamma = _conv(in_channels, out_channels, 1, norm_cfg, last=True)
        elif link == 'pool1x1':
            pool = nn.AvgPool2d(2**steps, ceil_mode=True, count_include_pad=False)
            self.gamma = Sequential(pool, _conv(in_channels, out_channels, 1, norm_cfg, last=True))
        else:
            chain = [_conv(in_channels, in_channels, 3, norm_cfg) for _ in range(steps - 1)]
            self.gamma = Sequential(*chain, _conv(in_channels, out_channels, 3, norm_cfg, last=True))

    def init_weights(self) -> None:
        """Start at zero: convolutions from N(0, 1e-3), the last norm's weight 0."""
        convs = [m for m in self.modules() if isinstance(m, ConvModule)]
        for conv in convs:
            nn.init.normal_(conv.conv.weight, std=1e-3)
            nn.init.ones_(conv.norm.weight)
            nn.init.zeros_(conv.norm.bias)
        nn.init.zeros_(convs[-1].norm.weight)
        self._is_init = True

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map a sender's ``(B, C_j, H_j, W_j)`` to the receiver's ``(B, C_i, H_i, W_i)``, ``size`` being its H, W."""
        return each(_resized, self.gamma(x), size)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='nearest')


def _conv(in_channels: int, out_channels: int, kernel: int, norm_cfg: dict, last: bool = False) -> ConvModule:
    return ConvModule(
        in_channels,
        out_channels,
        kernel,
        stride=1 if kernel == 1 else 2,
        padding=kernel // 2,
        norm_cfg=norm_cfg,
        act_cfg=None if last else {'type': 'ReLU'},
    )


@dataclass(frozen=True)
class DepthPlan:
    """Work that the features F of the receivers need, branch by branch.

    Args:
        stages: branch -> number of stages to run (levels of E).
        fusions: branch -> number of levels to fuse (levels of F).
    """

    stages: dict[str, int]
    fusions: dict[str, int]

    @classmethod
    def make(
        cls,
        receivers: set[str],
        levels: Mapping[str, int],
        links: Sequence[LinkKey],
        fuse: str,
    ) -> DepthPlan:
        """Follow the links back from the receivers until nothing more is needed.

        Args:
            receivers: branches whose F is wanted at all levels.
            levels: branch -> its number of levels.
            links: all links between the branches.
            fuse: ``'stream'`` or ``'output'``: whether a sender's E_j needs its own fused F_{j-1}.
        """
        stages = {name: levels[name] if name in receivers else 0 for name in levels}
        fusions = dict(stages)
        changed = True
        while changed:
            changed = False
            for link in links:
                if link.receiver_level >= fusions[link.receiver]:
                    continue
                if stages[link.sender] <= link.sender_level:
                    stages[link.sender] = link.sender_level + 1
                    changed = True
                if fuse == 'stream' and fusions[link.sender] < link.sender_level:
                    # E_j is computed from the fused F_{j-1}
                    fusions[link.sender] = link.sender_level
                    changed = True
        return cls(
            stages={name: depth for name, depth in stages.items() if depth},
            fusions={name: fusions[name] for name, depth in stages.items() if depth},
        )
