"""Channel orders, and the normalization of a network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xlearner_mm.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

RGB, BGR, GRAY = 'rgb', 'bgr', 'gray'
ORDERS = (RGB, BGR, GRAY)


@dataclass(frozen=True)
class Normalization:
    """Normalization of a network's input.

    Args:
        mean: per channel, for values 0 to 255; None: nothing is subtracted.
        std: per channel; None: nothing is divided by.
        order: channel order that the network sees, one of :data:`ORDERS`.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    order: str

    @classmethod
    def parse(cls, value: Sequence[Any]) -> Normalization:
        """Return the normalization ``(mean, std, order)``, the form that checkpoints record.

        Raises:
            ConfigError: the value is of another form.
        """
        try:
            mean, std, order = value
            mean, std = (None if v is None else tuple(float(x) for x in v) for v in (mean, std))
        except (TypeError, ValueError) as error:
            raise ConfigError(f'normalization {value!r} is not (mean, std, order)') from error
        if order not in (RGB, BGR) or any(v is not None and len(v) not in (1, 3) for v in (mean, std)):
            raise ConfigError(f'normalization {value!r}: expected mean and std of 3 channels, and rgb or bgr')
        return cls(mean, std, order)

    def __str__(self) -> str:
        mean, std = (None if v is None else list(v) for v in (self.mean, self.std))
        return f'mean {mean}, std {std}, channels {self.order}'

    def record(self) -> list:
        """Return ``[mean, std, order]`` as plain data, for metadata."""
        return [None if v is None else list(v) for v in (self.mean, self.std)] + [self.order]

    def matches(self, other: Normalization) -> bool:
        """Return whether a network sees the same under both; gray images fit either channel order."""
        same_order = self.order == other.order or GRAY in (self.order, other.order)
        return (self.mean, self.std) == (other.mean, other.std) and same_order

    def check(
        self, other: Normalization, what: str, whose: str, fix: str, error: type[Exception] = ConfigError
    ) -> None:
        """Raise ``error`` unless both match.

        Args:
            other: the expected normalization.
            what: what has this normalization, for the message.
            whose: what has the other one and its verb, such as ``'the sources have'``.
            fix: how to make them agree.
            error: type of the error. Defaults to :class:`~xlearner_mm.errors.ConfigError`.
        """
        if not self.matches(other):
            raise error(f'{what} has input normalization ({self}), but {whose} ({other}); {fix}')

    def undone(self, images: Tensor) -> Tensor:
        """Return normalized images ``(..., 3, H, W)`` as RGB images with values 0 to 255, before rounding."""
        if self.std is not None:
            images = images * images.new_tensor(self.std).view(-1, 1, 1)
        if self.mean is not None:
            images = images + images.new_tensor(self.mean).view(-1, 1, 1)
        return images.flip(-3) if self.order == BGR else images

    def __call__(self, images: Tensor) -> Tensor:
        """Normalize RGB images ``(..., 3, H, W)`` with values 0 to 255."""
        images = images if images.is_floating_point() else images.float()
        if self.order == BGR:
            images = images.flip(-3)
        if self.mean is not None:
            images = images - images.new_tensor(self.mean).view(-1, 1, 1)
        return images if self.std is None else images / images.new_tensor(self.std).view(-1, 1, 1)
