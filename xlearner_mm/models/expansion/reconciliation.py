"""The topology of the reconciliation links: which level of which branch is linked to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from xlearner_mm.errors import ConfigError, refuse_unknown

TOPOLOGIES = ('lower', 'same', 'higher', 'all', 'none')
FUSES = ('stream', 'output')


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
        link: config of the links, without their channels and strides: ``dict(type='ConvLink')``, chains of 3x3
            stride-2 convolutions; ``dict(type='BottleneckLink')``, those at a quarter of the width between 1x1;
            ``dict(type='PoolLink')``, average pool and 1x1; or
            your own :class:`~xlearner_mm.models.expansion.links.Link`. Defaults to ``dict(type='ConvLink')``.

    Raises:
        ConfigError: an unknown choice, or a topology that needs a level before it is computed.
    """

    topology: str = 'lower'
    link_levels: Sequence[int] = (0, 1, 2)
    include_self: bool = False
    detach: bool = True
    fuse: str = 'stream'
    link: Mapping[str, Any] = field(default_factory=lambda: {'type': 'ConvLink'})

    def __post_init__(self) -> None:
        for name, choices in (('topology', TOPOLOGIES), ('fuse', FUSES)):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"reconciliation: unknown {name} '{value}', choose from {choices}")
        if not isinstance(self.link, Mapping) or 'type' not in self.link:
            raise ConfigError(
                f"reconciliation: link must be a dict with a type, as dict(type='ConvLink'), got {self.link!r}"
            )
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
        """Return whether the topology links level j of a sender to level i of a receiver."""
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
