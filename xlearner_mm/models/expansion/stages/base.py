"""Base class of the families of backbones that can be branches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import MODELS


class StagesError(ConfigError):
    """A backbone that cannot be run stage by stage; the message says why."""


class Stages(ABC):
    """A built backbone as stem, stages and outputs, whose sequence is the backbone's own forward.

        F_{-1} = stem(x)        E_i = stage(i)(F_{i-1})        the backbone's output i = output(i, E_i)

    Between stages all families pass on ``(B, C, H, W)``: links are added there, to the *stream*. Families that
    normalize their outputs, but not the stream, do so in :meth:`output`.

    A family is a subclass that is registered in ``MODELS``; the type of a branch's stock backbone chooses it. It refers
    to the backbone and owns nothing: it is no module, so that no key is in a checkpoint twice.

    Args:
        backbone: the built backbone.

    Attributes:
        family: the family's name, for messages.
        types: names of the stock classes; classes that derive from them are of the family as well.
        normalizes_outputs: whether output i passes a ``norm{i}`` that the stream does not pass.
        levels: number of stages.
        output_levels: levels that :meth:`output` can return as the stock backbone does.
        probe_size: height and width of the smallest image that every setting of the family takes.

    Raises:
        StagesError: a setting with which it cannot be run stage by stage.
    """

    family: ClassVar[str]
    types: ClassVar[tuple[str, ...]] = ()
    normalizes_outputs: ClassVar[bool] = False

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.levels = self.count()
        self.output_levels: tuple[int, ...] = tuple(range(self.levels))
        self.probe_size = 64

    @classmethod
    def fits(cls, backbone: Any) -> bool:
        """Return whether the backbone is of this family. Defaults to a class named in ``types``, of any library."""
        return any(base.__name__ in cls.types for base in type(backbone).__mro__)

    def count(self) -> int:
        """Return the number of stages. Defaults to the length of the backbone's ``stages``."""
        return len(self.backbone.stages)

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """F_{-1}: image ``(B, 3, H, W)`` to the first stage's ``(B, C, H', W')``."""

    @abstractmethod
    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i, which maps F_{i-1} to E_i, both ``(B, C, H, W)``."""

    def output(self, level: int, x: Tensor) -> Tensor:
        """Return the backbone's output of a stage's stream, ``(B, C, H, W)`` to the same. Defaults to the stream."""
        return x

    def may_start_fresh(self) -> tuple[str, ...]:
        """Return modules that a checkpoint may lack because its own model, say a classifier, has fewer outputs."""
        return tuple(f'norm{level}' for level in self.output_levels) if self.normalizes_outputs else ()


def stages_of(backbone: nn.Module) -> Stages:
    """Return the adapter that runs a built backbone stage by stage.

    Args:
        backbone: any stock backbone.

    Raises:
        StagesError: no family fits it, or it cannot be run stage by stage with one of its settings.
    """
    registered = MODELS.module_dict.values()
    families = [kind for kind in registered if isinstance(kind, type) and issubclass(kind, Stages)]
    for family in reversed(families):  # those of users first
        if family.fits(backbone):
            return family(backbone)
    known = ', '.join(family.family for family in families)
    raise StagesError(
        f'{type(backbone).__name__} does not expose its stages in a known way, so no link can be put between them; use '
        f'a backbone of one of these families: {known}; or register your own'
    )
