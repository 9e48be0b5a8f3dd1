"""By what a channel's importance is judged: the criteria of torch-pruning, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xlearner_mm.nearest_name import nearest

if TYPE_CHECKING:
    from torch_pruning import Group

Criterion = Callable[[Any], Tensor]


def torch_pruning() -> ModuleType:
    """Return the library, which an installation that prunes nothing need not have.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import torch_pruning
    except ModuleNotFoundError as error:
        raise ImportError(f'pruning needs torch-pruning: pip install torch-pruning ({error})') from error
    return torch_pruning


CRITERIA: dict[str, Callable[[], Criterion]] = {
    'magnitude': lambda: torch_pruning().importance.GroupMagnitudeImportance(p=2),
    'magnitude_l1': lambda: torch_pruning().importance.GroupMagnitudeImportance(p=1),
    'taylor': lambda: torch_pruning().importance.GroupTaylorImportance(),
    'bn_scale': lambda: torch_pruning().importance.BNScaleImportance(),
    'lamp': lambda: torch_pruning().importance.LAMPImportance(),
    'fpgm': lambda: torch_pruning().importance.FPGMImportance(),
    'random': lambda: torch_pruning().importance.RandomImportance(),
}
"""Those that need weights alone, or (``'taylor'``) the gradients of one step."""

NEEDS_GRADIENTS = ('taylor',)


def build_criterion(name: str) -> Criterion:
    """Return a criterion: it maps a group of torch-pruning to one score per channel.

    Raises:
        ValueError: none of that name; lists them.
        ImportError: torch-pruning is not installed.
    """
    if name not in CRITERIA:
        raise ValueError(f"pruning: unknown criterion '{name}'{nearest(name, CRITERIA, 'criteria')}")
    return CRITERIA[name]()


def judge(criterion: Criterion, group: Group, seed: int) -> Tensor:
    """Return the scores ``(C,)`` of a group's channels, on the CPU; a run's own random numbers stay untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return criterion(group).detach().cpu()
