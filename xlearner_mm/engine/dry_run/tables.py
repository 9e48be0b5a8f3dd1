"""An estimate as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from xlearner_mm.engine.dry_run.figures import Estimate

UNKNOWN = 'unknown'


def print_tables(found: Estimate, flops_per_second: float | None, utilisation: float, console: Console) -> None:
    """Print what every source and the whole take.

    Args:
        found: the estimate.
        flops_per_second: of one GPU; None where it is not given.
        utilisation: the share of them that a training gets.
        console: where to.
    """
    console.print(_sources(found))
    console.print(_whole(found, flops_per_second, utilisation))
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


def _whole(found: Estimate, flops_per_second: float | None, utilisation: float) -> Table:
    table = Table(title=f'{found.model}, one rank of {found.world_size}', show_header=False)
    table.add_column()
    table.add_column(justify='right')
    for name, value in _lines(found, flops_per_second, utilisation):
        table.add_row(name, value)
    return table


def _lines(found: Estimate, flops_per_second: float | None, utilisation: float) -> Iterator[tuple[str, str]]:
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
    hours = found.gpu_hours(flops_per_second, utilisation)
    rate = f'{utilisation:.0%} of {flops_per_second:.3g} FLOP/s'
    yield f'GPU-hours at {rate}', UNKNOWN if hours is None else f'{hours:,.1f}'
    if hours is not None:
        yield 'hours', f'{hours / found.world_size:,.1f}'
