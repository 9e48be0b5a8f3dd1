"""What the student is compared with: every teacher's levels, channels and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from xlearner_mm.datasets.errors import refuse_unknown
from xlearner_mm.models.distillation import BackboneTeacher
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone


@dataclass(frozen=True)
class Target:
    """What one teacher t, a branch or a further one, shows the student.

    Args:
        name: the teacher's name; its losses are ``loss_<name>_<level>``.
        channels: level i -> channels of F_i^t, for the levels that are distilled.
        weight: w^t.
    """

    name: str
    channels: Mapping[int, int]
    weight: float = 1.0


def branch_targets(
    backbone: XLearnerExpandedBackbone, levels: Sequence[int], weights: Mapping[str, float] | None
) -> dict[str, Target]:
    """Return the targets of all branches, by branch.

    Raises:
        ValueError: a level that a branch does not have, or a weight that is negative or of no branch.
    """
    given = check_weights('branch', weights, list(backbone.branches))
    targets = {}
    for name, branch in backbone.branches.items():
        available = {i: branch.channels[i] for i in branch.output_levels}
        targets[name] = Target(name, pick_levels(name, levels, available), given[name])
    return targets


def build_further_teachers(
    further: Mapping[str, Mapping[str, Any]],
    levels: Sequence[int],
    branches: Sequence[str],
    normalisation: tuple,
) -> tuple[dict[str, BackboneTeacher], dict[str, Target]]:
    """Build the teachers that are no branches, and their targets.

    Args:
        further: name -> ``dict(model=..., checkpoint=..., data_preprocessor=None, autocast=None)`` of a
            :class:`~xlearner_mm.models.distillation.BackboneTeacher`, and ``weight`` and ``levels`` of its target.
        levels: the levels distilled where a teacher names none.
        branches: names that are taken.
        normalisation: how the sources' images are normalised.

    Raises:
        SourceError: a teacher whose input normalisation differs or is not known.
        ValueError: a name that is taken or no identifier, an unknown setting, a level it does not have, a weight
            below 0.
        CheckpointError: its checkpoint is missing, damaged, or not of its model.
    """
    teachers, targets = {}, {}
    for name, settings in further.items():
        _check_name(name, branches)
        _check_settings(name, settings)
        settings = dict(settings)
        weight, own_levels = settings.pop('weight', 1.0), settings.pop('levels', levels)
        teachers[name] = BackboneTeacher(**settings, what=f"further teacher '{name}'")
        teachers[name].check_normalisation(normalisation)
        if not _is_weight(weight):
            raise ValueError(
                f"FitNetDistiller: weight of further teacher '{name}' must be a number and not negative, got {weight!r}"
            )
        check_levels(own_levels)
        targets[name] = Target(name, pick_levels(name, own_levels, teachers[name].channels), weight)
    return teachers, targets


def _check_name(name: str, branches: Sequence[str]) -> None:
    if name in branches:
        raise ValueError(f"FitNetDistiller: further teacher '{name}' has the name of a branch; give it another")
    if not name.isidentifier():
        raise ValueError(f"FitNetDistiller: the name of further teacher '{name}' must be an identifier")


def _check_settings(name: str, settings: Mapping[str, Any]) -> None:
    known = ('model', 'checkpoint', 'data_preprocessor', 'channel_order', 'autocast', 'weight', 'levels')
    missing = [k for k in known[:2] if k not in settings]
    refuse_unknown(f"FitNetDistiller: further teacher '{name}'", settings, known)
    if missing:
        raise ValueError(f"FitNetDistiller: further teacher '{name}' lacks {missing}")


def pick_levels(name: str, levels: Sequence[int], channels: Mapping[int, int]) -> dict[int, int]:
    """Return the channels of the levels that are distilled.

    Raises:
        ValueError: a level that ``name`` does not give out.
    """
    beyond = [i for i in levels if i not in channels]
    if beyond:
        raise ValueError(f"FitNetDistiller: levels {beyond} are beyond '{name}', which gives out {list(channels)}")
    return {i: channels[i] for i in levels}


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """Return levels as they were given.

    Raises:
        ValueError: none, one twice, or no whole numbers.
    """
    if not isinstance(levels, Sequence) or any(type(level) is not int for level in levels):
        raise ValueError(f'FitNetDistiller: levels must be a tuple of whole numbers, as (0, 1, 2, 3), got {levels!r}')
    if not levels or len(set(levels)) != len(levels):
        raise ValueError(f'FitNetDistiller: levels must name every level once, and one at least, got {levels}')
    return tuple(levels)


def check_weights(kind: str, weights: Mapping | None, known: Sequence) -> dict:
    """Return a weight for all that is known, 1 where none is given.

    Raises:
        ValueError: a weight of something unknown, or one that is negative or no number.
    """
    given = dict(weights or {})
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f'FitNetDistiller: {kind}_weights name unknown {unknown}; known: {list(known)}')
    wrong = {key: value for key, value in given.items() if not _is_weight(value)}
    if wrong:
        raise ValueError(f'FitNetDistiller: {kind}_weights must be numbers and not negative, got {wrong}')
    return {key: given.get(key, 1.0) for key in known}


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < inf
