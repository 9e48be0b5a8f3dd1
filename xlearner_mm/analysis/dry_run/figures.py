"""Figures of an estimate, and their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class SourceEstimate:
    """Estimate of one source.

    Args:
        name: the source's name.
        images_per_step: of one process.
        images: of its dataset; None: unknown.
        images_from: origin of that number.
        epochs: of its dataset over the whole training; None: unknown.
        steps_per_epoch: of all processes together; None: unknown.
        batch_shape: ``(B, 3, H, W)`` of one process.
        pictures: origin of its images and labels.
        flops_per_step: forward and backward of one process; a multiply-add is two.
        graph: sources of the same have their graphs in memory together.
        image_bytes: of its images, which all sources have in memory together.
        saved_bytes: stored from forward to backward, images included.
        extra_bytes: further bytes at the peak.
        tried: batch that the last three were measured with.
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
    graph: str
    image_bytes: int
    saved_bytes: float
    extra_bytes: float
    tried: str


@dataclass(frozen=True)
class Estimate:
    """Estimate of a training, for one of its processes.

    Args:
        model: its class.
        world_size: number of processes.
        precision: of the forward pass.
        steps: of the training; None: they depend on an unknown number of images.
        learning_rates: branch -> rate after any warm-up; of one optimizer for all, under ``''``.
        set_for: images a step that the config's rate and length are for; None: not scaled.
        trained_parameters: their number.
        frozen_parameters: number of the model's own without gradients.
        memory: bytes per process by purpose, batches excluded.
        sources: per source.
        notes: checks that were not possible.
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
        """Bytes saved for the largest backward pass, the most that a source needs beyond, and all others' images."""
        images = sum(source.image_bytes for source in self.sources)
        together: dict[str, list[SourceEstimate]] = {}
        for source in self.sources:
            together.setdefault(source.graph, []).append(source)
        return images + max(
            sum(s.saved_bytes - s.image_bytes for s in graph) + max(s.extra_bytes for s in graph)
            for graph in together.values()
        )

    @property
    def peak_bytes(self) -> float:
        """Peak memory of a process: in the backward pass, or in the optimizer's step."""
        return sum(self.memory.values()) + max(self.activation_bytes, self.memory['gradients'])

    @property
    def flops_per_step(self) -> float:
        """FLOPs of a step of one process."""
        return sum(source.flops_per_step for source in self.sources)

    def gpu_hours(self, flops_per_second: float, utilization: float) -> float | None:
        """Return the total hours of all GPUs; None where the number of steps is unknown.

        Args:
            flops_per_second: of one GPU, as specified for the training's precision.
            utilization: share of them that a training reaches.
        """
        if self.steps is None:
            return None
        return self.steps * self.world_size * self.flops_per_step / (flops_per_second * utilization) / 3600

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        totals = {name: getattr(self, name) for name in ('activation_bytes', 'peak_bytes', 'flops_per_step')}
        return {**asdict(self), **totals}


UNKNOWN = 'unknown'


def print_tables(found: Estimate, flops_per_second: float | None, utilization: float, console: Console) -> None:
    """Print the figures of every source and of the training.

    Args:
        found: the estimate.
        flops_per_second: of one GPU; None: not given.
        utilization: share of them that a training reaches.
        console: the output.
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
