"""Several ways to do one thing, measured in turn within one run and compared as ratios to a baseline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

Way = Callable[[], object]
"""One way to do a thing: called again and again."""


@dataclass(frozen=True)
class Ratio:
    """Time and memory of one implementation relative to others.

    Args:
        what: what is done.
        way: how it is done.
        baseline: what it is compared to.
        seconds: median time of the way.
        baseline_seconds: median time of the baseline; of several, their sum.
        flops: FLOPs of the way relative to the baseline's. Defaults to None: not counted.
        peak_bytes: peak memory of the way. Defaults to None: not measured.
        baseline_peak_bytes: peak memory of the baseline. Defaults to None.
    """

    what: str
    way: str
    baseline: str
    seconds: float
    baseline_seconds: float
    flops: float | None = None
    peak_bytes: int | None = None
    baseline_peak_bytes: int | None = None

    @property
    def ratio(self) -> float:
        """Time relative to the baseline's."""
        return self.seconds / self.baseline_seconds

    @property
    def memory(self) -> float | None:
        """Peak memory relative to the baseline's."""
        if self.peak_bytes is None or self.baseline_peak_bytes is None:
            return None
        return self.peak_bytes / self.baseline_peak_bytes


def medians(ways: Mapping[str, Way], rounds: int, device: str = 'cpu', warm_up: int = 2) -> dict[str, float]:
    """Return the median seconds of each way; every round runs all of them, so that a busy machine slows all alike.

    On a CPU it is the process's CPU time, with one thread; on a GPU wall-clock time between synchronizations.

    Args:
        ways: name -> way.
        rounds: number of rounds that count.
        device: ``'cpu'`` or a CUDA device. Defaults to ``'cpu'``.
        warm_up: number of rounds before them. Defaults to 2.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            seconds = _seconds(way, device)
            if number >= warm_up:
                taken[name].append(seconds)
    return {name: median(seconds) for name, seconds in taken.items()}


def _seconds(way: Way, device: str) -> float:
    if device == 'cpu':
        start = time.process_time()
        way()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def print_ratios(title: str, ratios: Sequence[Ratio], json_file: Path | None = None) -> None:
    """Print ratios as a table, and write them as JSON.

    Args:
        title: of the table.
        ratios: its lines.
        json_file: where to. Defaults to None, nowhere.
    """
    table = Table(title=title)
    measured = any(line.memory is not None for line in ratios)
    memory = ('MB', 'baseline MB', 'ratio of memory') if measured else ()
    for column in ('what', 'way', 'ms', 'baseline', 'ms', 'ratio', 'ratio of FLOPs', *memory):
        table.add_column(column, justify='left' if column in ('what', 'way', 'baseline') else 'right')
    for line in ratios:
        flops = '' if line.flops is None else f'{line.flops:.2f}'
        milliseconds = (f'{seconds * 1e3:,.2f}' for seconds in (line.seconds, line.baseline_seconds))
        first, second = milliseconds
        peaks = [line.peak_bytes, line.baseline_peak_bytes] if measured else []
        cells = [*('' if peak is None else f'{peak / 1e6:,.1f}' for peak in peaks)]
        if measured:
            cells.append('' if line.memory is None else f'{line.memory:.2f}')
        table.add_row(line.what, line.way, first, line.baseline, second, f'{line.ratio:.2f}', flops, *cells)
    Console(width=130).print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        lines = [{**asdict(line), 'ratio': line.ratio, 'memory': line.memory} for line in ratios]
        json_file.write_text(json.dumps({'title': title, 'torch': torch.__version__, 'ratios': lines}, indent=2))
