"""The figures of an estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


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

    def gpu_hours(self, flops_per_second: float, utilization: float) -> float | None:
        """Return the hours of all GPUs together; None where the number of steps is unknown.

        Args:
            flops_per_second: of one GPU, as its maker states them for the training's precision.
            utilization: the share of them that a training gets.
        """
        if self.steps is None:
            return None
        return self.steps * self.world_size * self.flops_per_step / (flops_per_second * utilization) / 3600

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        totals = {name: getattr(self, name) for name in ('activation_bytes', 'peak_bytes', 'flops_per_step')}
        return {**asdict(self), **totals}


UNKNOWN = 'unknown'


def print_tables(found: Estimate, flops_per_second: float | None, utilization: float, console: Console) -> None:
    """Print what every source and the whole take.

    Args:
        found: the estimate.
        flops_per_second: of one GPU; None where it is not given.
        utilization: the share of them that a training gets.
        console: where to.
    """
    console.print(_sources(found))
    console.print(_whole(found, flops_per_second, utilization))
    for note in found.notes:
        console.print(f'note: {note}', markup=False, soft_wrap=True)


def _sources(found: Estimate) -> Table:
    table = Table(title=f'Sources, for each of {found.world_size} rank(s)')
    table.add_column('source', no_wrap=True)
    for column in ('batch', 'images', 'steps an\nepoch', 'epochs', 'TFLOPs\na step', 'saved\n(GB)'):
        table.add_column(column, justify='right', no_wrap=True)
    table.add_column('tried with')
    for source in found.sources:
        table.add_row(
            source.name,
            ' x '.join(str(n) for n in source.batch_shape),
            UNKNOWN if source.images is None else f'{source.images:,}\n({source.images_from})',
            UNKNOWN if source.steps_per_epoch is None else f'{source.steps_per_epoch:,}',
            UNKNOWN if source.epochs is None else f'{source.epochs:.1f}',
            f'{source.flops_per_step / 1e12:.3g}',
            _gigabytes(source.saved_bytes),
            f'{source.tried}\n(pictures: {source.pictures})',
        )
    return table


def _gigabytes(size: float) -> str:
    return f'{size / 1e9:.3f}'


def _whole(found: Estimate, flops_per_second: float | None, utilization: float) -> Table:
    table = Table(title=f'{found.model}, one rank of {found.world_size}', show_header=False)
    table.add_column()
    table.add_column(justify='right')
    for name, value in _lines(found, flops_per_second, utilization):
        table.add_row(name, value)
    return table


def _lines(found: Estimate, flops_per_second: float | None, utilization: float) -> Iterator[tuple[str, str]]:
    images = sum(source.images_per_step for source in found.sources)
    steps = found.steps
    yield 'steps', UNKNOWN if steps is None else f'{steps:,}'
    yield 'images a step', f'{images:,} (all ranks: {images * found.world_size:,})'
    if found.set_for is not None:
        yield 'rate and steps scaled from', f'{found.set_for:,g} images a step'
    for branch, learning_rate in found.learning_rates.items():
        yield f'learning rate of {branch}' if branch else 'learning rate', f'{learning_rate:.4g}'
    yield 'trained parameters', f'{found.trained_parameters / 1e6:.2f} M'
    if found.frozen_parameters:
        yield 'frozen parameters', f'{found.frozen_parameters / 1e6:.2f} M'
    for name, size in found.memory.items():
        if round(size / 1e9, 3):
            yield f'memory: {name}', f'{_gigabytes(size)} GB'
    yield 'memory: activations', f'{_gigabytes(found.activation_bytes)} GB'
    yield 'memory at the peak', f'{_gigabytes(found.peak_bytes)} GB'
    yield 'precision', found.precision
    yield 'TFLOPs a step', f'{found.flops_per_step / 1e12:.3g}'
    total = None if steps is None else steps * found.world_size * found.flops_per_step
    yield 'FLOPs of all ranks', UNKNOWN if total is None else f'{total:.3g}'
    if flops_per_second is None:
        yield 'GPU-hours', f'{UNKNOWN}: give --flops-per-second'
        return
    hours = found.gpu_hours(flops_per_second, utilization)
    rate = f'{utilization:.0%} of {flops_per_second:.3g} FLOP/s'
    yield f'GPU-hours at {rate}', UNKNOWN if hours is None else f'{hours:,.1f}'
    if hours is not None:
        yield 'hours', f'{hours / found.world_size:,.1f}'
