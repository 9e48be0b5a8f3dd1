"""One method's row of a report, and the comparison of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from xlearner_mm.tasks import METRICS, TASKS

SUMMARY = {task.column: task.column_title for task in TASKS.values()}
"""Columns with the mean of a task, and their default titles."""
PAPER = 'paper'
"""``Row.source`` of the rows from the paper's slides."""


@dataclass(frozen=True)
class Score:
    """The score of a method on one transfer set, in percent.

    Args:
        task: of :data:`~xlearner_mm.tasks.TASKS`.
        metric: key of the stock metric, such as ``'accuracy/top1'``.
        value: mean over the seeds; None, shown as ``-``, for a set that failed or was left out.
        values: of the single seeds. Defaults to none: there is one seed.
        std: standard deviation over the seeds. Defaults to None: there is one seed.
        seeds: of ``values``. Defaults to none.
        extra: a set beside the paper's suite (COCO, ADE20K): it has its own column and is in no summary. Defaults to
            False.
    """

    task: str
    metric: str
    value: float | None
    values: list[float] = field(default_factory=list)
    std: float | None = None
    seeds: list[int] = field(default_factory=list)
    extra: bool = False

    @property
    def label(self) -> str:
        """Name of the metric in papers; its key if unknown."""
        return METRICS[self.metric].label if self.metric in METRICS else self.metric


@dataclass(frozen=True)
class SourceScore:
    """The validation score of a trained network on one of its sources, in percent.

    Args:
        metric: key of the source's primary metric.
        value: the score.
        fidelity: percentage of the expanded backbone's score, measured by a squeeze. Defaults to None: not measured.
    """

    metric: str
    value: float
    fidelity: float | None = None


Upstream = dict[str, SourceScore]
"""Source -> score."""


@dataclass(frozen=True)
class Budget:
    """Optimizer steps of all trainings of a backbone, and the trillions of FLOPs of their forward and backward passes.

    A multiply-add is two FLOPs.
    """

    steps: int
    tflops: float


@dataclass(frozen=True)
class Backbone:
    """The backbone of a row; two are equal if digest and branch are.

    Args:
        checkpoint: the file, for messages.
        sha256: of the file; None for the random start.
        branch: of an expansion checkpoint, the branch that is transferred alone. Defaults to None.
    """

    checkpoint: str = field(compare=False)
    sha256: str | None
    branch: str | None = None

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256; ``'random'`` for the random start."""
        return self.sha256[:8] if self.sha256 else 'random'

    def __str__(self) -> str:
        branch = f', branch {self.branch}' if self.branch else ''
        return f'{self.checkpoint} (sha256 {self.digest}{branch})' if self.sha256 else self.checkpoint


@dataclass(frozen=True)
class RowProtocol:
    """The protocol of a row, as far as it holds for all its sets. All fields default to None: not recorded.

    Args:
        data_fraction: used share of the training images.
        seeds: number of seeds; ``'1-3'`` if the sets differ in it.
        frozen: whether the backbone is frozen.
        probe: of frozen backbones.
        options: overrides of every config.
    """

    data_fraction: float | None = None
    seeds: int | str | None = None
    frozen: bool | None = None
    probe: str | None = None
    options: str | None = None

    @property
    def label(self) -> str:
        """Description, such as ``'frozen, lbfgs probe, 10% of the data, 3 seeds'``."""
        fraction, seeds = self.data_fraction, self.seeds
        parts = [] if self.frozen is None else ['frozen' if self.frozen else 'fine-tuned']
        parts += [f'{self.probe} probe'] if self.probe else []
        parts += [] if fraction is None else [f'{100 * fraction:g}% of the data' if fraction < 1 else 'all data']
        parts += [f'options {self.options}'] if self.options else []
        parts += [] if seeds is None else [f'{seeds} seed{"s" if seeds != 1 else ""}']
        return ', '.join(parts) or 'not recorded'


@dataclass(frozen=True)
class Row:
    """A method's row of ``report.json``; all metrics in percent. :func:`make_row` computes the derived fields.

    Args:
        method: name of the row.
        upstream: source -> score on it.
        transfer: transfer set -> score on it.
        summary: column -> mean over the sets of a task; None if a set has no value.
        params_m: learnable values of the backbone, in millions; None if unknown.
        seconds: duration of all its trainings and transfers; None if unknown.
        std: summary column -> standard deviation over the seeds.
        fidelity: mean over the sources that have one.
        flops_g: multiply-adds for one image of 224 x 224, in billions.
        steps: optimizer steps of all its trainings.
        train_tflops: of all its trainings.
        protocol: by which the backbone was judged.
        backbone: that was transferred.
        source: ``'measured'`` or :data:`PAPER`.
        marks: column -> mark in the slides.
    """

    method: str
    upstream: Upstream
    transfer: dict[str, Score]
    summary: dict[str, float | None]
    params_m: float | None = None
    seconds: float | None = None
    std: dict[str, float] = field(default_factory=dict)
    fidelity: float | None = None
    flops_g: float | None = None
    steps: int | None = None
    train_tflops: float | None = None
    protocol: RowProtocol = RowProtocol()
    backbone: Backbone | None = None
    source: str = 'measured'
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def is_paper(self) -> bool:
        """True for a row of the paper, False for a measured one."""
        return self.source == PAPER

    @property
    def comparison_key(self) -> RowProtocol:
        """Protocol except for the number of seeds, equal for comparable rows."""
        return replace(self.protocol, seeds=None)

    @property
    def identity(self) -> tuple[str, str, RowProtocol]:
        """Unique key of the row in a report."""
        return self.source, self.method, self.comparison_key

    @property
    def protocol_label(self) -> str:
        """Description of the protocol."""
        return "the paper's" if self.is_paper else self.protocol.label

    def value(self, column: str) -> float | None:
        """Return a summary, or the value of a single set; None if the row has none."""
        if column in SUMMARY:
            return self.summary.get(column)
        return self.transfer[column].value if column in self.transfer else None

    def deviation(self, column: str) -> float | None:
        """Return the standard deviation over the seeds of a summary or a single set; None for one seed."""
        if column in SUMMARY:
            return self.std.get(column)
        return self.transfer[column].std if column in self.transfer else None


def make_score(
    task: str,
    metric: str,
    values: float | Sequence[float],
    extra: bool = False,
    seeds: Sequence[int] | None = None,
) -> Score:
    """Return the :class:`Score` of values in percent, one per seed, 0, 1, ... by default; none for a failed set."""
    numbers = [float(values)] if isinstance(values, (int, float)) else [float(value) for value in values]
    mean = _mean(numbers)
    if len(numbers) < 2:
        return Score(task, metric, mean, extra=extra)
    used = list(range(len(numbers)) if seeds is None else seeds)
    return Score(task, metric, mean, [round(value, 4) for value in numbers], round(stdev(numbers), 2), used, extra)


def make_row(
    method: str,
    transfer: Mapping[str, Score],
    *,
    upstream: Upstream | None = None,
    params_m: float | None = None,
    flops_g: float | None = None,
    seconds: float | None = None,
    budget: Budget | None = None,
    protocol: RowProtocol | None = None,
    backbone: Backbone | None = None,
) -> Row:
    """Return a :class:`Row` with its summaries, their standard deviations and its mean fidelity.

    ``transfer`` must have a score for *every* set of the suite: without the value of a set its task has no summary,
    because a mean over the other sets is another quantity.
    """
    summaries = {task.column: _seed_means(transfer, key) for key, task in TASKS.items()}
    upstream = upstream or {}
    return Row(
        method,
        dict(upstream),
        dict(transfer),
        {column: _mean(values) for column, values in summaries.items()},
        params_m,
        seconds,
        {column: round(stdev(values), 2) for column, values in summaries.items() if len(values) > 1},
        _mean([score.fidelity for score in upstream.values() if score.fidelity is not None]),
        flops_g,
        None if budget is None else budget.steps,
        None if budget is None else round(budget.tflops, 3),
        protocol or RowProtocol(),
        backbone,
    )


def _seed_means(transfer: Mapping[str, Score], task: str) -> list[float]:
    """Return the mean over a task's sets, one number per seed; none if a set has no value.

    Sets with different seeds are not paired: there is one mean, over their values.
    """
    scores = [score for score in transfer.values() if score.task == task and not score.extra]
    means = [score.value for score in scores if score.value is not None]
    if len(means) < len(scores):
        return []
    paired = len({tuple(score.seeds) for score in scores}) <= 1
    runs = [score.values or [mean] if paired else [mean] for score, mean in zip(scores, means, strict=True)]
    return [fmean(values) for values in zip(*runs, strict=True)]


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 2) if values else None


def all_sets(rows: Sequence[Row]) -> dict[str, Score]:
    """Return set -> the first score on it: in the order of the measured rows, by task, extra sets last."""
    sets: dict[str, Score] = {}
    for row in sorted(rows, key=lambda row: row.is_paper):
        for name, score in row.transfer.items():
            sets.setdefault(name, score)
    tasks = list(TASKS)
    return dict(sorted(sets.items(), key=lambda item: (item[1].extra, tasks.index(item[1].task))))


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, the paper's first, with only those summaries that are over the same sets.

    A measured row without a set that another measured row has gets no summary of its task.
    """
    measured = [row for row in rows if not row.is_paper]
    sets = all_sets(measured)
    shown = [row for row in rows if row.is_paper]
    for row in measured:
        incomplete = {score.task for name, score in sets.items() if not score.extra and row.value(name) is None}
        hidden = dict.fromkeys(TASKS[task].column for task in incomplete)
        shown.append(replace(row, summary={**row.summary, **hidden}))
    return shown


def best_rows(rows: Sequence[Row], column: str) -> set[int]:
    """Return the indices of the best measured rows of a column, for each protocol; none if all are equal or alone."""
    best: set[int] = set()
    for protocol in {row.comparison_key for row in rows}:
        values = {
            index: value
            for index, row in enumerate(rows)
            if not row.is_paper and row.comparison_key == protocol and (value := row.value(column)) is not None
        }
        if len(set(values.values())) > 1:
            best |= {index for index, value in values.items() if value == max(values.values())}
    return best


def protocols_differ(rows: Sequence[Row]) -> bool:
    """Return whether the measured rows have different protocols."""
    return len({row.comparison_key for row in rows if not row.is_paper}) > 1


def titles_of(rows: Sequence[Row]) -> list[str]:
    """Return the methods, each with its protocol if the rows differ in it."""
    differ = protocols_differ(rows)
    return [f'{row.method} ({row.protocol_label})' if differ and not row.is_paper else row.method for row in rows]


def shared_label(rows: Sequence[Row]) -> str:
    """Return the description of the protocol of all measured rows; ``'1-3 seeds'`` if they differ in the seeds."""
    protocols = [row.protocol for row in rows if not row.is_paper]
    seeds = [int(number) for protocol in protocols for number in str(protocol.seeds or '').split('-') if number]
    shared = protocols[0]
    if len(set(seeds)) > 1:
        shared = replace(shared, seeds=f'{min(seeds)}-{max(seeds)}')
    return shared.label
