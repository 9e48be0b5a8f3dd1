"""What a training will take, per rank and in all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xlearner_mm.datasets.source import SourceError
from xlearner_mm.engine.dry_run.blueprint import STOCK, Blueprint
from xlearner_mm.engine.dry_run.source_cost import PIXELS, SourceCost, source_cost
from xlearner_mm.engine.dry_run.source_data import SourceData
from xlearner_mm.engine.dry_run.static_memory import static_memory


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


def estimate(blueprint: Blueprint, world_size: int, folder: str, half: bool = False, pixels: int = PIXELS) -> Estimate:
    """Estimate a training.

    Args:
        blueprint: the training, built without data.
        world_size: number of processes.
        folder: where pictures that stand in are written.
        half: whether its forward pass is in 16 bits. Defaults to False.
        pixels: the most that are run at once, see :func:`source_cost`.

    Raises:
        SourceError: a source's step fails; the message names the source.
    """
    runner = blueprint.runner
    steps = _steps(blueprint, world_size)
    sources = []
    for data in blueprint.sources.values():
        cost = _cost(blueprint, data, folder, half, pixels)
        sources.append(_source_estimate(data, cost, steps, world_size))
    parameters = list(runner.model.parameters())
    return Estimate(
        model=type(runner.model).__name__,
        world_size=world_size,
        precision='16 bits where autocast has them' if half else '32 bits',
        steps=steps,
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        frozen_parameters=sum(p.numel() for p in parameters if not p.requires_grad),
        memory=static_memory(runner.model, runner.optim_wrapper, runner.hooks, world_size),
        sources=sources,
        notes=blueprint.notes,
    )


def _steps(blueprint: Blueprint, world_size: int) -> int | None:
    loop = blueprint.runner.train_loop
    if STOCK not in blueprint.sources or type(loop).__name__ == 'IterBasedTrainLoop':
        return loop.max_iters
    data = blueprint.sources[STOCK]
    return None if data.images is None else loop.max_epochs * _per_epoch(data, world_size)


def _per_epoch(data: SourceData, world_size: int) -> int:
    assert data.images is not None
    return math.ceil(data.images / (data.batch_size * world_size))


def _cost(blueprint: Blueprint, data: SourceData, folder: str, half: bool, pixels: int) -> SourceCost:
    source = data.name if blueprint.has_sources else None
    try:
        items = data.items(folder)
        return source_cost(blueprint.runner.model, source, items, data.batch_size, half, pixels)
    except Exception as error:
        what = str(error) if isinstance(error, SourceError) else f'{type(error).__name__}: {error}'
        owner = f"source '{source}'" if source else 'train_dataloader'
        raise SourceError(f'{owner}: a training step cannot be tried: {what}') from error


def _source_estimate(data: SourceData, cost: SourceCost, steps: int | None, world_size: int) -> SourceEstimate:
    known = data.images is not None
    epochs = None
    if data.images is not None and steps is not None:
        epochs = steps * world_size * data.batch_size / data.images
    return SourceEstimate(
        name=data.name,
        images_per_step=data.batch_size,
        images=data.images,
        images_from=data.origin,
        epochs=epochs,
        steps_per_epoch=_per_epoch(data, world_size) if known else None,
        batch_shape=cost.shape,
        pictures='its own' if data.picture is None else 'random, {} x {}'.format(*data.picture),
        flops_per_step=cost.cost.flops,
        saved_bytes=cost.cost.saved,
        extra_bytes=cost.cost.extra,
        tried=cost.tried,
    )
