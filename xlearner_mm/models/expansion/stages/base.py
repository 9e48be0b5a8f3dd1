"""What every family of backbones has to say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from xlearner_mm.errors import ConfigError


class StagesError(ConfigError):
    """A backbone that cannot be run stage by stage; the message says why."""


class Stages(ABC):
    """A built backbone as stem, stages and outputs, of which its own forward is the sequence.

        F_{-1} = stem(x)        E_i = stage(i)(F_{i-1})        the backbone's output i = output(i, E_i)

    Between stages all families hand over ``(B, C, H, W)``: links are added there, to the *stream*. Families that
    normalize what they give out, but not what they pass on, do so in :meth:`output`.

    It refers to the backbone and owns nothing: it is no module, so that no key is in a checkpoint twice.

    Args:
        backbone: the built backbone.

    Attributes:
        family: the family's name, for messages.
        normalizes_outputs: whether output i passes a ``norm{i}`` that the stream does not pass.
        levels: number of stages.
        output_levels: levels that :meth:`output` can give as the stock backbone does.
        probe_size: height and width of the smallest image that every setting of the family takes.

    Raises:
        StagesError: a setting that stands against it.
    """

    family: ClassVar[str]
    normalizes_outputs: ClassVar[bool] = False

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.levels = self.count()
        self.output_levels: tuple[int, ...] = tuple(range(self.levels))
        self.probe_size = 64

    @classmethod
    @abstractmethod
    def fits(cls, backbone: Any) -> bool:
        """Whether the backbone is of this family."""

    @abstractmethod
    def count(self) -> int:
        """Number of stages."""

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """F_{-1}: image ``(B, 3, H, W)`` to the first stage's ``(B, C, H', W')``."""

    @abstractmethod
    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i, which maps F_{i-1} to E_i, both ``(B, C, H, W)``."""

    def output(self, level: int, x: Tensor) -> Tensor:
        """What the backbone gives out of a stage's stream, ``(B, C, H, W)`` to the same. Defaults to the stream."""
        return x

    def may_start_fresh(self) -> tuple[str, ...]:
        """Modules that a checkpoint may lack because its own model, say a classifier, gave out fewer levels."""
        return tuple(f'norm{level}' for level in self.output_levels) if self.normalizes_outputs else ()

    @staticmethod
    def is_a(backbone: Any, stock_class: str) -> bool:
        """Whether a backbone is, or derives from, a class of that name, of whichever library."""
        return any(cls.__name__ == stock_class for cls in type(backbone).__mro__)
