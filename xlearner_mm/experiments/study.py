"""Studies: variants repeated over seeds, every finished run a line of a ledger that grows from machine to machine."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from mmengine.config import Config
from mmengine.runner import Runner

from xlearner_mm.errors import ConfigError
from xlearner_mm.experiments.squeeze_trials import TRIALS
from xlearner_mm.experiments.variant_jobs import budget_of, seconds_of, upstream_of, variant_jobs, variant_row
from xlearner_mm.experiments.variants import MINI, MINI_SOURCES, PHOTO, Family, Variant, schedule_of
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.pipeline import JobRunner, can_fork
from xlearner_mm.pipeline.job import Job
from xlearner_mm.pipeline.runner import INTERRUPTED
from xlearner_mm.pipeline.state import JobStates
from xlearner_mm.transfer.protocol import TransferSet, transfer_sets

LEDGER = Path('docs/study/ledger.jsonl')
WORK_DIR = Path('work_dirs/study')
_HARD_SHARING_STEPS = 1003


@dataclass(frozen=True)
class Study:
    """Rows to compare, each over several seeds.

    Args:
        name: of the study.
        title: of its section in the report.
        family: data sets, trainings and variants; the rows are its variants.
        seeds: row -> number of seeds; runs with the same seed are paired.
        baselines: rows that all others are compared to.
        judged_by: what counts: ``'transfer'``, scores on the transfer sets; ``'sources'``, scores on the sources; or
            ``'fidelity'``, the squeezed backbone's share of them. Only the first transfers. Defaults to ``'transfer'``.
    """

    name: str
    title: str
    family: Family
    seeds: Mapping[str, int]
    baselines: tuple[str, ...]
    judged_by: str = 'transfer'

    @property
    def sets(self) -> list[TransferSet]:
        """Transfer sets."""
        return transfer_sets(self.family.configs / 'transfer') if self.judged_by == 'transfer' else []

    def sources_of(self, row: str) -> frozenset[str]:
        """Return the sources that a row is trained on; none for a random start."""
        result = self.family.variants[row].result
        if result is None:
            return frozenset()
        return frozenset(_config(self.family.configs / self.family.trainings[result].config).sources)

    def digest(self, row: str) -> str:
        """Return a hash of all settings that decide a row, independent of the machine and of a config's variables."""
        described: list[Any] = []
        for name in self.family.trainings_of(row):
            training = self.family.trainings[name]
            cfg = copy.deepcopy(_config(self.family.configs / training.config))
            cfg.merge_from_dict(dict(training.options))
            described.append([name, _settings_of(cfg), dict(training.reads)])
        described += [_settings_of(_config(entry.config)) for entry in self.sets]
        return hashlib.sha256(json.dumps(described, sort_keys=True, default=repr).encode()).hexdigest()[:12]


@cache
def _config(path: Path) -> Config:
    """Return a config, read once: rows of a study share most of them."""
    return Config.fromfile(str(path))


def _settings_of(cfg: Config) -> dict[str, Any]:
    """Return what a runner reads of a config, without the variables that its settings were built from."""
    read = {*settings_of(Runner), 'sources'}
    return {name: value for name, value in cfg.to_dict().items() if name in read}


def _link_study() -> Study:
    """The kinds of link in the expansion stage, all else equal."""
    base = MINI.trainings['xlearner_seg_r18_expansion']
    links = ('ConvLink', 'BottleneckLink', 'PoolLink')
    trainings = {
        link: replace(base, alias=link, options={'model.backbone.reconciliation.link.type': link}) for link in links
    }
    family = Family(MINI.name, trainings, {link: Variant(link, link) for link in links})
    return Study('links', 'Kinds of link', family, dict.fromkeys(links, 5), ('ConvLink',), 'sources')


def _with_less_data(family: Family, variant: str, sources: Sequence[str]) -> Family:
    """Add a variant on a quarter and on a half of the sources' images, for as many steps."""
    trainings, variants = dict(family.trainings), dict(family.variants)
    result = family.variants[variant]
    assert result.result is not None
    for word, fraction in (('quarter', 0.25), ('half', 0.5)):
        renamed = {name: f'{name}_{word}' for name in family.trainings_of(variant)}
        for name, alias in renamed.items():
            own = family.trainings[name]
            placeholders = {old: f'{{{new}}}' for old, new in renamed.items()}
            reads = {key: value.format(**placeholders) for key, value in own.reads.items()}
            options = {**own.options, **{f'sources.{source}.data_fraction': fraction for source in sources}}
            trainings[alias] = replace(own, alias=alias, reads=reads, options=options)
        title = f'{result.title}, {word} of the images'
        variants[f'{variant}_{word}'] = replace(result, title=title, result=renamed[result.result])
    return Family(family.name, trainings, variants)


def _with_single_sources(family: Family, sources: Sequence[str], steps: int) -> Family:
    """Add a model of each source alone, which sees as many of its images as hard-sharing does in as many steps."""
    trainings, variants = dict(family.trainings), dict(family.variants)
    for source in sources:
        name, own = f'single_{source}', family.trainings[f'{source}_r18']
        trainings[name] = replace(own, alias=name, seconds=2 * own.seconds, export=False, options=schedule_of(steps))
        variants[name] = Variant(f'{source} alone', name)
    return Family(family.name, trainings, variants)


STUDIES = {
    study.name: study
    for study in (
        _link_study(),
        Study(
            'squeeze',
            'Fidelity of squeezes, one setting changed at a time',
            TRIALS,
            dict.fromkeys(TRIALS.variants, 3),
            ('default',),
            'fidelity',
        ),
        Study(
            'mini',
            'XL-Mini',
            _with_single_sources(_with_less_data(MINI, 'xlearner', MINI_SOURCES), MINI_SOURCES, _HARD_SHARING_STEPS),
            {
                **dict.fromkeys(('hard_sharing', 'hard_sharing_flops', 'xlearner', 'xlearner_wo_rec'), 5),
                **dict.fromkeys(('xlearner_pp', 'xlearner_seg', 'hard_sharing_seg', 'hard_sharing_seg_flops'), 5),
                **dict.fromkeys(('xlearner_t', 'xlearner_r', 'xlearner_p', 'scratch'), 3),
                **dict.fromkeys(('xlearner_half', 'xlearner_quarter'), 3),
                **dict.fromkeys((f'single_{source}' for source in MINI_SOURCES), 3),
            },
            ('hard_sharing', 'hard_sharing_flops', 'hard_sharing_seg', 'hard_sharing_seg_flops'),
        ),
        Study(
            'photo', 'XL-Photo', PHOTO, dict.fromkeys(PHOTO.variants, 3), ('hard_sharing_seg', 'hard_sharing_seg_flops')
        ),
    )
}
"""All studies by name."""


@dataclass(frozen=True)
class Run:
    """One line of the ledger: a finished row of a study with one seed.

    Args:
        study: name of the study.
        row: name of the row.
        seed: of its trainings and transfers.
        digest: of its configs, see :meth:`Study.digest`.
        commit: of the code, with ``+`` after it for uncommitted changes.
        metrics: name -> percent: ``<source>``, ``<source>/fidelity``, transfer sets and their summaries.
        seconds: duration of all its trainings and transfers.
        steps: optimizer steps of its trainings.
        tflops: of their forward and backward passes.
    """

    study: str
    row: str
    seed: int
    digest: str
    commit: str
    metrics: dict[str, float] = field(hash=False)
    seconds: float = 0.0
    steps: int = 0
    tflops: float = 0.0

    @property
    def key(self) -> tuple[str, str, int, str]:
        """Common key of all lines of the same run."""
        return self.study, self.row, self.seed, self.digest


class Ledger:
    """A file of finished runs, one JSON object per line.

    Args:
        path: of the file; it may not exist yet.
    """

    def __init__(self, path: Path = LEDGER) -> None:
        self.path = path

    def read(self) -> list[Run]:
        """Return all runs, in order.

        Raises:
            ConfigError: a line that is no run; the message names it.
        """
        if not self.path.exists():
            return []
        runs = []
        for number, line in enumerate(self.path.read_text(encoding='utf-8').splitlines(), start=1):
            try:
                runs.append(Run(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f'{self.path}: line {number} is no run of a study ({error}); restore the file from version control'
                ) from error
        return runs

    def add(self, run: Run) -> None:
        """Append a run, unless it is there already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{self.path}.lock'):
            if run.key not in {known.key for known in self.read()}:
                with self.path.open('a', encoding='utf-8') as file:
                    file.write(json.dumps(asdict(run)) + '\n')


def current(runs: Iterable[Run], study: Study) -> list[Run]:
    """Return the runs of a study whose configs are today's; those of other configs are never mixed in."""
    digests = {row: study.digest(row) for row in study.seeds}
    return [run for run in runs if run.study == study.name and digests.get(run.row) == run.digest]


def run_study(
    name: str,
    workers: int = 2,
    rows: Sequence[str] = (),
    seeds: int | None = None,
    work_dir: Path = WORK_DIR,
    ledger: Path = LEDGER,
    steps: int | None = None,
) -> int:
    """Run all runs of a study that the ledger lacks, seed by seed; interrupted work is resumed.

    Args:
        name: of :data:`STUDIES`.
        workers: number of concurrent jobs. Defaults to 2.
        rows: names of the rows to run. Defaults to all.
        seeds: highest number of seeds. Defaults to None: the study's.
        work_dir: for all output. Defaults to ``work_dirs/study``.
        ledger: file of the finished runs. Defaults to ``docs/study/ledger.jsonl``.
        steps: length of every training, for a quick trial; such runs are not recorded. Defaults to None.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interruption.

    Raises:
        ConfigError: an unknown row, or a damaged ledger.
    """
    study = STUDIES[name]
    if unknown := sorted(set(rows) - set(study.seeds)):
        raise ConfigError(f'study {name}: unknown row(s) {unknown}, expected some of {list(study.seeds)}')
    status = 0
    finished = {(run.row, run.seed) for run in current(Ledger(ledger).read(), study)}
    for seed in range(max(study.seeds.values()) if seeds is None else seeds):
        due = [row for row, count in study.seeds.items() if seed < count and (not rows or row in rows)]
        due = [row for row in due if (row, seed) not in finished]
        if not due:
            continue
        print(f'study {name}, seed {seed}: {", ".join(due)}', flush=True)
        trial = '' if steps is None else f'_{steps}_steps'  # apart from the study's own trainings
        folder = work_dir / name / f'seed_{seed}{trial}'
        jobs = _jobs(study, due, folder, seed, steps, ledger)
        fork = can_fork()
        outcome = JobRunner(jobs, folder, workers, fork, threads=1, keep_order=True).run()
        if outcome.status == INTERRUPTED:
            return outcome.status
        status = max(status, outcome.status)
    return status


def _jobs(study: Study, rows: Sequence[str], folder: Path, seed: int, steps: int | None, ledger: Path) -> list[Job]:
    """Return the jobs of all rows, row by row, so that every row is recorded as soon as it is finished."""
    found: dict[str, Job] = {}
    for row in rows:
        jobs = variant_jobs([row], folder, study.sets, steps, study.family, seed)
        if study.judged_by != 'transfer':
            jobs = [job for job in jobs if job.name not in ('data/transfer', f'{row}/export')]
        if steps is None:
            jobs.append(_record_job(study, row, folder, seed, ledger, jobs))
        for job in jobs:
            found.setdefault(job.name, job)  # a training of an earlier row
    return list(found.values())


def _record_job(study: Study, row: str, folder: Path, seed: int, ledger: Path, jobs: Sequence[Job]) -> Job:
    command = [sys.executable, 'tools/study.py', study.name, '--record', row, '--seed', str(seed)]
    command += ['--work-dir', str(folder.parent.parent), '--ledger', str(ledger), '--digest', study.digest(row)]
    return Job(f'record/{row}', tuple(command), tuple(job.name for job in jobs), seconds=5, repeat=True)


def record(
    name: str, row: str, seed: int, work_dir: Path = WORK_DIR, ledger: Path = LEDGER, digest: str | None = None
) -> Run:
    """Add a finished run to the ledger, unless it is there.

    Args:
        name: of the study.
        row: its row.
        seed: its seed.
        work_dir: as :func:`run_study` has it. Defaults to ``work_dirs/study``.
        ledger: as :func:`run_study` has it. Defaults to ``docs/study/ledger.jsonl``.
        digest: of the row's configs when it was started. Defaults to None: today's.

    Raises:
        ConfigError: the run is not finished, or its configs were edited since it was started.
    """
    study, folder = STUDIES[name], work_dir / name / f'seed_{seed}'
    _config.cache_clear()  # a forked process has the configs of the start
    if digest not in (None, study.digest(row)):
        raise ConfigError(
            f'study {name}: configs of row {row} were edited while it ran, so it is not recorded: repeat the command, '
            'which trains anew what they decide'
        )
    seconds = {job: state.seconds for job, state in JobStates(folder / 'jobs.json').records.items()}
    result = study.family.variants[row].result
    metrics: dict[str, float] = {}
    if result is not None:
        for source, score in upstream_of(result, folder, study.family).items():
            metrics[source] = score.value
            if score.fidelity is not None:
                metrics[f'{source}/fidelity'] = score.fidelity
    if study.judged_by == 'transfer':
        measured = variant_row(row, folder, study.sets, seconds, study.family)
        metrics |= {entry: score.value for entry, score in measured.transfer.items() if score.value is not None}
        metrics |= {column: value for column, value in measured.summary.items() if value is not None}
    budget = budget_of(row, folder, study.family)
    run = Run(
        study=name,
        row=row,
        seed=seed,
        digest=study.digest(row),
        commit=_commit(),
        metrics=metrics,
        seconds=round(seconds_of(row, seconds, study.family), 1),
        steps=budget.steps,
        tflops=round(budget.tflops, 3),
    )
    Ledger(ledger).add(run)
    return run


def _commit() -> str:
    """Return the commit of the code; empty outside of a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(['git', *arguments], capture_output=True, text=True, cwd=Path(__file__).parents[1])
        return done.stdout.strip() if done.returncode == 0 else ''

    commit = git('rev-parse', '--short=10', 'HEAD')
    return commit + (
        '+' if commit and git('status', '--porcelain', '--untracked-files=no', '--', 'xlearner_mm') else ''
    )
