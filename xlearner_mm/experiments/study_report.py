"""Report of the studies: means, paired differences with intervals, and verdicts on the slides' observations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure
from scipy.stats import t as student_t

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.experiments.study import LEDGER, STUDIES, Ledger, Run, Study, current
from xlearner_mm.experiments.variants import MINI_SOURCES
from xlearner_mm.report.rows import SUMMARY
from xlearner_mm.report.tables import Table, markdown

CONFIDENCE = 0.95
_KEPT = 98
"""The fidelity that each source is to have on average over the seeds."""
PAGE = Path('docs/study.md')
MEAN = 'mean'
"""Mean over the tasks of the transfer sets, or over the sources."""


@dataclass(frozen=True)
class Difference:
    """Paired differences of a row to a baseline, in points.

    Args:
        seeds: number of pairs.
        mean: of the differences.
        margin: half width of the two-sided 95% interval of the mean; infinite for one pair.
    """

    seeds: int
    mean: float
    margin: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.margin

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.margin

    def __str__(self) -> str:
        if self.seeds < 2:
            return f'{self.mean:+.1f} (1 seed)'
        return f'{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]'


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean of ``first - second`` with its two-sided 95% interval by Student's t.

    Args:
        first: values of the row, one per seed.
        second: values of the baseline with the same seeds.
    """
    values = [a - b for a, b in zip(first, second, strict=True)]
    if len(values) < 2:
        return Difference(len(values), mean(values), float('inf'))
    quantile = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return Difference(len(values), mean(values), float(quantile * stdev(values) / len(values) ** 0.5))


@dataclass(frozen=True)
class Results:
    """The runs of a study.

    Args:
        study: the study.
        runs: its runs, all of today's configs.
    """

    study: Study
    runs: Sequence[Run]

    def values(self, row: str, metric: str) -> dict[int, float]:
        """Return seed -> value of a row."""
        found = {run.seed: _metric(run, self.study, metric) for run in self.runs if run.row == row}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def difference(self, row: str, baseline: str, metric: str = MEAN) -> Difference | None:
        """Return the paired difference of two rows over the seeds that both have; None if there are none."""
        first, second = self.values(row, metric), self.values(baseline, metric)
        seeds = [seed for seed in first if seed in second]
        return paired_difference([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else None

    def planned_pairs(self, row: str, baseline: str) -> int:
        """Return the number of seeds that both rows are to have."""
        return min(self.study.seeds[row], self.study.seeds[baseline])

    @property
    def rows(self) -> list[str]:
        """Rows that have a run, in the study's order."""
        there = {run.row for run in self.runs}
        return [row for row in self.study.seeds if row in there]

    @property
    def baseline(self) -> str:
        """The first baseline that has a run."""
        return next((row for row in self.study.baselines if row in self.rows), self.study.baselines[0])

    @property
    def metrics(self) -> dict[str, str]:
        """Metric -> title of the columns; tasks without a transfer set have none."""
        measured = {name for run in self.runs for name in run.metrics}
        judged = _judged(self.study, self.runs[0]) if self.runs else {}
        return {**{name: title for name, title in judged.items() if name in measured}, MEAN: 'mean'}

    @property
    def fidelities(self) -> dict[str, str]:
        """Metric -> title of the sources' fidelities."""
        names = dict.fromkeys(name for run in self.runs for name in run.metrics if name.endswith('/fidelity'))
        return {name: name.removesuffix('/fidelity') for name in names}


def _metric(run: Run, study: Study, metric: str) -> float | None:
    if metric != MEAN:
        return run.metrics.get(metric)
    values = [run.metrics[name] for name in _judged(study, run) if name in run.metrics]
    return mean(values) if values else None


def _judged(study: Study, run: Run) -> dict[str, str]:
    """Return metric -> title of what a study is judged by."""
    if study.judged_by == 'transfer':
        return dict(SUMMARY)
    ending = '/fidelity' if study.judged_by == 'fidelity' else ''
    sources = (name.removesuffix(ending) for name in run.metrics if name.endswith(ending))
    return {f'{name}{ending}': name for name in sources if '/' not in name}


@dataclass(frozen=True)
class Claim:
    """One comparison that an observation rests on: a row is better than a baseline by more than a margin.

    Args:
        study: name of the study.
        row: the row.
        baseline: the row that it is compared to.
        margin: points that it may be worse by. Defaults to 0.
    """

    study: str
    row: str
    baseline: str
    margin: float = 0.0


@dataclass(frozen=True)
class Observation:
    """An observation of the slides.

    Args:
        name: ``'O1'`` to ``'O6'``, or the row of its table.
        statement: in the slides' words.
        claims: comparisons of the mean over the transfers' tasks.
    """

    name: str
    statement: str
    claims: tuple[Claim, ...]


OBSERVATIONS = (
    Observation(
        'O1',
        'Proper multi-task learning promotes collaboration instead of bringing interference',
        (Claim('mini', 'xlearner', 'hard_sharing'), Claim('mini', 'xlearner', 'hard_sharing_flops')),
    ),
    Observation(
        'O1, first row',
        'X-Learner transfers better than a model of any of its sources alone',
        tuple(Claim('mini', 'xlearner', f'single_{source}') for source in MINI_SOURCES),
    ),
    Observation(
        'O2',
        'Additional sources further improve the representation if task conflicts are well mitigated',
        (Claim('mini', 'xlearner_seg', 'xlearner'),),
    ),
    Observation('O3', 'Expansion-Squeeze is better than Squeeze-Expansion', (Claim('mini', 'xlearner', 'xlearner_r'),)),
    Observation(
        'O4',
        'Reconciliation layers should receive information from lower levels',
        (Claim('mini', 'xlearner', 'xlearner_t'), Claim('mini', 'xlearner', 'xlearner_wo_rec')),
    ),
    Observation(
        'O5', 'Pruning may replace distillation in the squeeze stage', (Claim('mini', 'xlearner_p', 'xlearner', 1.0),)
    ),
    Observation('O6', 'X-Learner has high data efficiency', (Claim('mini', 'xlearner_half', 'hard_sharing'),)),
    Observation(
        'O6, own images',
        "A part of its sources' images is enough for X-Learner",
        tuple(Claim('mini', f'xlearner_{part}', 'xlearner', 1.0) for part in ('half', 'quarter')),
    ),
)
RULE = (
    'A claim *row > baseline* holds if the lower end of the 95% interval of the paired difference of the mean over the '
    "transfers' tasks is above 0 (above -1 point for O5 and *O6, own images*, which claim a replacement and no gain); "
    'it does not hold if the upper end is below that; otherwise it is not decided. An observation holds if all of its '
    'claims hold, does not hold if one of them does not, and is not decided otherwise. Before all seeds have run, this '
    'is so far. *O1, first row* and *O6, own images* were added later, before any run of their rows. A row of other '
    'costs than its baseline says how many times the FLOPs it was trained with.'
)
HOLDS, FAILS, OPEN = 'holds', 'does not hold', 'not decided'


def verdict(difference: Difference | None, margin: float = 0.0) -> str:
    """Return the verdict on one claim."""
    if difference is None or difference.seeds < 2:
        return OPEN
    if difference.low > -margin:
        return HOLDS
    return FAILS if difference.high < -margin else OPEN


def verdict_of(verdicts: Sequence[str]) -> str:
    """Return the verdict on an observation from those on its claims."""
    if FAILS in verdicts:
        return FAILS
    return HOLDS if all(own == HOLDS for own in verdicts) else OPEN


def read_results(ledger: Path = LEDGER) -> dict[str, Results]:
    """Return study -> its runs with today's configs.

    Raises:
        ConfigError: a damaged ledger.
    """
    runs = Ledger(ledger).read()
    return {name: Results(study, current(runs, study)) for name, study in STUDIES.items()}


def write_report(ledger: Path = LEDGER, page: Path = PAGE) -> None:
    """Write the page of all studies with the figures beside it, and print it.

    Args:
        ledger: file of the finished runs. Defaults to ``docs/study/ledger.jsonl``.
        page: to write. Defaults to ``docs/study.md``.

    Raises:
        ConfigError: a damaged ledger.
    """
    results, lines = read_results(ledger), Counter(run.study for run in Ledger(ledger).read())
    parts = [_HEAD]
    for name, own in results.items():
        outdated = lines[name] - len(own.runs)
        parts += [f'## {own.study.title}', *_section(own, outdated)]
        if own.runs:
            figure = page.parent / 'study' / f'{name}.png'
            _draw(own, figure)
            parts.append(f'![Mean of each row and its difference to {own.baseline}](study/{figure.name})')
    parts += ['## Observations', RULE, markdown(observations_table(results))]
    text = '\n\n'.join(parts) + '\n'
    atomic_write_text(page, text)
    print(text)


_HEAD = """# Studies

Written by `python tools/study.py --report` from [the ledger](study/ledger.jsonl): one line for every finished run, also
those that contradict the paper. `python tools/study.py mini` runs what the ledger lacks. Scores are in percent; `±` is
the standard deviation over seeds; differences are paired by seed, in points, with two-sided 95% intervals."""


def _section(results: Results, outdated: int) -> list[str]:
    notes = [f'{outdated} lines of the ledger are of other configs and left out.'] if outdated else []
    if not results.runs:
        return [*notes, 'No run yet.']
    parts = [*notes, markdown(_means(results, results.metrics))]
    for baseline in results.study.baselines:
        if baseline in results.rows:
            parts += [f'Difference to `{baseline}`:', markdown(_differences(results, baseline))]
    if results.fidelities and results.study.judged_by != 'fidelity':
        parts += ['Fidelity of the squeezed backbones by source:', markdown(_means(results, results.fidelities))]
    return parts


def _means(results: Results, metrics: dict[str, str]) -> Table:
    lines = []
    for row in results.rows:
        values = {metric: list(results.values(row, metric).values()) for metric in metrics}
        if not any(values.values()):
            continue
        runs = [run for run in results.runs if run.row == row]
        cells = [_spread(values[metric]) for metric in metrics]
        lines.append([row, str(len(runs)), *cells, str(runs[0].steps), f'{runs[0].tflops:.1f}'])
    return Table(['row', 'seeds', *metrics.values(), 'steps', 'TFLOPs'], lines)


def _differences(results: Results, baseline: str) -> Table:
    lines = []
    for row in results.rows:
        found = [results.difference(row, baseline, metric) for metric in results.metrics]
        if row != baseline and any(found):
            lines.append([row, *('' if own is None else str(own) for own in found)])
    return Table(['row', *results.metrics.values()], lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ''
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def comparison_table(results: Results, rows: Sequence[str] = ()) -> Table:
    """Return variants' means by task, and the paired difference of their mean to hard-sharing on the same sources.

    Args:
        results: of a study with transfers.
        rows: of the study. Defaults to all that have a run.
    """
    study, lines = results.study, []
    for row in results.rows:
        if rows and row not in rows:
            continue
        runs = [run for run in results.runs if run.row == row]
        cells = [_spread(list(results.values(row, metric).values())) for metric in results.metrics]
        against = [base for base in study.baselines if study.sources_of(base) == study.sources_of(row)]
        found = [None if base == row else results.difference(row, base) for base in against]
        differences = ['' if own is None else str(own) for own in found] or ['', '']
        cost = [str(runs[0].steps), f'{runs[0].tflops:.1f}']
        lines.append([study.family.variants[row].title, str(len(runs)), *cells, *differences, *cost])
    differences_to = ('to equal steps', 'to equal FLOPs')
    return Table(['variant', 'seeds', *results.metrics.values(), *differences_to, 'steps', 'TFLOPs'], lines)


def observations_table(results: Mapping[str, Results]) -> Table:
    """Return the slides' observations with their claims and verdicts.

    Args:
        results: study -> its runs.
    """
    lines = []
    for observation in OBSERVATIONS:
        found = [results[claim.study].difference(claim.row, claim.baseline) for claim in observation.claims]
        verdicts = [verdict(own, claim.margin) for own, claim in zip(found, observation.claims, strict=True)]
        seeds = [results[claim.study].planned_pairs(claim.row, claim.baseline) for claim in observation.claims]
        claims = '; '.join(
            f'{claim.row} > {claim.baseline}: {_with_seeds(own, planned)}{_with_cost(results[claim.study], claim)}'
            for claim, own, planned in zip(observation.claims, found, seeds, strict=True)
        )
        whole, is_finished = verdict_of(verdicts), [own and own.seeds for own in found] == seeds
        lines.append([observation.name, observation.statement, claims, whole if is_finished else f'{whole} so far'])
    return Table(['', 'observation', 'claims', 'verdict'], lines)


def _with_seeds(found: Difference | None, planned: int) -> str:
    if found is None:
        return 'no runs'
    return f'{str(found).removesuffix(" (1 seed)")}, {found.seeds} of {planned} seeds'


def _with_cost(results: Results, claim: Claim) -> str:
    costs = {run.row: run.tflops for run in results.runs}
    own, other = costs.get(claim.row), costs.get(claim.baseline)
    if not own or not other or round(own / other, 1) == 1.0:
        return ''
    return f', {own / other:.1f} times the FLOPs'


def fidelity_table(results: Mapping[str, Results]) -> Table:
    """Return the fidelity of every squeezed variant: its mean, the sources near 100%, and the lowest.

    Args:
        results: study -> its runs.
    """
    studies = [own for own in results.values() if own.study.judged_by == 'transfer']
    found = [(own, row, _fidelities(own, row)) for own in studies for row in own.rows]
    lines = [_fidelity_line(own, row, fidelities) for own, row, fidelities in found if fidelities]
    header = ['data', 'variant', 'seeds', 'mean', f'sources of at least {_KEPT}']
    return Table([*header, 'lowest source, mean over seeds', 'lowest of all seeds'], lines)


def _fidelities(results: Results, row: str) -> dict[str, list[float]]:
    found = {source: results.values(row, name) for name, source in results.fidelities.items()}
    return {source: list(values.values()) for source, values in found.items() if values}


def _fidelity_line(results: Results, row: str, fidelities: Mapping[str, Sequence[float]]) -> list[str]:
    means = {source: mean(values) for source, values in fidelities.items()}
    minima = {source: min(values) for source, values in fidelities.items()}
    lowest, worst = (min(own, key=own.__getitem__) for own in (means, minima))
    near = sum(value >= _KEPT for value in means.values())
    return [
        results.study.title,
        results.study.family.variants[row].title,
        str(len(next(iter(fidelities.values())))),
        f'{mean(means.values()):.1f}',
        f'{near} of {len(means)}',
        f'{lowest} {means[lowest]:.1f}',
        f'{worst} {minima[worst]:.1f}',
    ]


def _draw(results: Results, path: Path) -> None:
    """Draw the mean of each row, and its difference to the first baseline that has runs, with the interval."""
    baseline = results.baseline
    rows = results.rows[::-1]
    figure = Figure(figsize=(9, 0.4 * len(rows) + 1.4), layout='constrained')
    left, right = figure.subplots(1, 2, sharey=True)
    for height, row in enumerate(rows):
        values = list(results.values(row, MEAN).values())
        left.plot(values, [height] * len(values), 'o', color='#9ab', markersize=4)
        left.plot(mean(values), height, '|', color='black', markersize=14)
        own = results.difference(row, baseline)
        if own is not None and row != baseline:
            margin = own.margin if own.seeds > 1 else 0.0
            right.errorbar(own.mean, height, xerr=margin, fmt='o', color='black', capsize=3)
    right.axvline(0, color='#bbb', linewidth=1)
    left.set_yticks(range(len(rows)), rows)
    left.set_ylim(-0.5, len(rows) - 0.5)
    left.set_xlabel('mean, every seed a dot (%)')
    right.set_xlabel(f'difference to {baseline}, 95% interval')
    for axes in (left, right):
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(axis='x', color='#eee')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
