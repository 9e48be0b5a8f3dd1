"""By what a channel's importance is judged: the criteria of torch-pruning, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_pruning as tp
from torch import Tensor

from xlearner_mm.nearest_name import nearest

Criterion = Callable[[tp.Group], Tensor]

CRITERIA: dict[str, Callable[[], Criterion]] = {
    'magnitude': lambda: tp.importance.GroupMagnitudeImportance(p=2),
    'magnitude_l1': lambda: tp.importance.GroupMagnitudeImportance(p=1),
    'taylor': lambda: tp.importance.GroupTaylorImportance(),
    'bn_scale': lambda: tp.importance.BNScaleImportance(),
    'lamp': lambda: tp.importance.LAMPImportance(),
    'fpgm': lambda: tp.importance.FPGMImportance(),
    'random': lambda: tp.importance.RandomImportance(),
}
"""Those that need weights alone, or (``'taylor'``) the gradients of one step."""

NEEDS_GRADIENTS = ('taylor',)


def build_criterion(name: str) -> Criterion:
    """Return a criterion: it maps a group of torch-pruning to one score per channel.

    Raises:
        ValueError: none of that name; lists them.
    """
    if name not in CRITERIA:
        raise ValueError(f"pruning: unknown criterion '{name}'{nearest(name, CRITERIA, 'criteria')}")
    return CRITERIA[name]()


def judge(criterion: Criterion, group: tp.Group, seed: int) -> Tensor:
    """Return the scores ``(C,)`` of a group's channels, on the CPU; a run's own random numbers stay untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return criterion(group).detach().cpu()
