"""The figures of an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SourceEstimate:
    """One source's part.

    Args:
        name: the source's name.
        images_per_step: of one process.
        images: of its data set; None where unknown.
        images_from: where that number is from.
        epochs: of its data set over the whole training; None where unknown.
        steps_per_epoch: of all processes together; None where unknown.
        batch_shape: ``(B, 3, H, W)`` of one process.
        pictures: what its images and labels are.
        flops_per_step: forward and backward of one process; a multiply-add is two.
        saved_bytes: kept between forward and backward.
        extra_bytes: beyond those, at the peak.
        tried: what was run to know the last three.
    """

    name: str
    images_per_step: int
    images: int | None
    images_from: str
    epochs: float | None
    steps_per_epoch: int | None
    batch_shape: tuple[int, ...]
    pictures: str
    flops_per_step: float
    saved_bytes: float
    extra_bytes: float
    tried: str


@dataclass(frozen=True)
class Estimate:
    """A training's part for one of its processes, and its total.

    Args:
        model: its class.
        world_size: number of processes.
        precision: of the forward pass.
        steps: of the training; None where they depend on an unknown number of images.
        learning_rates: branch -> rate after any warm-up; of one optimizer for all, under ``''``.
        set_for: images a step that the config's rate and length are set for; None where they are not scaled.
        trained_parameters: how many.
        frozen_parameters: how many of the model's own take no gradient.
        memory: bytes per process that do not depend on the batch, by what they are for.
        sources: per source.
        notes: what could not be checked.
    """

    model: str
    world_size: int
    precision: str
    steps: int | None
    learning_rates: Mapping[str, float]
    set_for: float | None
    trained_parameters: int
    frozen_parameters: int
    memory: Mapping[str, int]
    sources: list[SourceEstimate]
    notes: list[str]

    @property
    def activation_bytes(self) -> float:
        """What all sources save for the backward pass, and the most that one needs beyond."""
        return sum(s.saved_bytes for s in self.sources) + max(s.extra_bytes for s in self.sources)

    @property
    def peak_bytes(self) -> float:
        """The most memory that a process holds: in the backward pass, or when the optimizer works on a copy."""
        return sum(self.memory.values()) + max(self.activation_bytes, self.memory['gradients'])

    @property
    def flops_per_step(self) -> float:
        """Of one process."""
        return sum(source.flops_per_step for source in self.sources)

    def gpu_hours(self, flops_per_second: float, utilisation: float) -> float | None:
        """Return the hours of all GPUs together; None where the number of steps is unknown.

        Args:
            flops_per_second: of one GPU, as its maker states them for the training's precision.
            utilisation: the share of them that a training gets.
        """
        if self.steps is None:
            return None
        return self.steps * self.world_size * self.flops_per_step / (flops_per_second * utilisation) / 3600

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        totals = {name: getattr(self, name) for name in ('activation_bytes', 'peak_bytes', 'flops_per_step')}
        return {**asdict(self), **totals}
