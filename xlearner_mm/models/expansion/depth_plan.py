"""How deep every branch must run for some branches' features: the cheap way to compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlearner_mm.models.expansion.reconciliation import LinkKey


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
