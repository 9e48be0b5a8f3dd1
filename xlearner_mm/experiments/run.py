"""Runs of the demo and of the slides' variants: their jobs, then one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from xlearner_mm import mini, photos
from xlearner_mm.errors import print_error
from xlearner_mm.experiments.variant_jobs import stage_dir, upstream_of, variant_jobs, variant_row
from xlearner_mm.experiments.variants import FAMILIES, MINI, Family
from xlearner_mm.pipeline import JobRunner, Outcome, can_fork
from xlearner_mm.pipeline.runner import INTERRUPTED
from xlearner_mm.report.report import REPORT_FILES, Report, update_report
from xlearner_mm.report.results import read_results
from xlearner_mm.transfer.protocol import TransferSet, transfer_sets

DEMO = ('scratch', 'hard_sharing_seg_flops', 'xlearner_seg')
"""The variants of the demo; of the two budgets of hard-sharing the larger one, as many FLOPs as X-Learner."""
PAPER = (
    *('ImageNet supervised', 'SimCLR', 'Hard-sharing', 'X-Learner', 'X-Learner++', 'X-Learner w/ seg'),
    *('X-Learner w/o Rec.', 'X-Learner_t', 'X-Learner_r', 'X-Learner_p'),
)
"""The slides' rows of the variants."""
CHANCE = {
    **{name: 100 / len(entry.classes) for name, entry in mini.CATALOG.items() if entry.task == 'cls'},
    **{name: 100 / entry.classes for name, entry in photos.CATALOG.items() if entry.task == 'cls'},
}
"""Accuracy of guessing, by classification set."""


def run_pipeline(
    variants: Sequence[str],
    work_dir: Path,
    workers: int,
    steps: int | None = None,
    paper: bool = False,
    fresh: bool = False,
    data: str = 'mini',
) -> int:
    """Run variants and add their rows to the report of the work directory, except for those with failed jobs.

    Args:
        variants: of the family's, or ``['all']``.
        work_dir: for all output.
        workers: number of concurrent jobs.
        steps: length of every training. Defaults to None: as in the configs.
        paper: show the slides' rows beside them. Defaults to False: those in the report.
        fresh: train and transfer again what has finished. Defaults to False.
        data: of :data:`FAMILIES`, the data sets. Defaults to ``'mini'``.

    Returns:
        The exit status: 0, 1 after a failure, 130 after an interruption.
    """
    family = FAMILIES[data]
    names = list(family.variants) if list(variants) == ['all'] else variants
    unknown = [name for name in names if name not in family.variants]
    if unknown:
        return print_error(f"unknown variant(s) {unknown} of {data}; choose from {[*family.variants]} or 'all'")
    outcome, sets = _run(names, work_dir, workers, steps, fresh, family)
    if outcome.status == INTERRUPTED:
        return outcome.status
    lost = set(outcome.failed) | set(outcome.left_out)
    rows = [
        variant_row(name, work_dir, sets, outcome.seconds, family)
        for name in names
        if not lost.intersection(job.name for job in variant_jobs([name], work_dir, sets, family=family))
    ]
    if outcome.status and not (lost and rows):
        return outcome.status
    _show(update_report(work_dir, rows, PAPER if paper else None, chance=CHANCE), work_dir)
    return outcome.status


def run_demo(work_dir: Path, workers: int, steps: int | None = None, fresh: bool = False) -> int:
    """Run the demo; arguments and exit status as :func:`run_pipeline` has them."""
    began = time.monotonic()
    print('X-Learner in miniature: about 25 minutes on 2 slow cores', flush=True)
    outcome, sets = _run(DEMO, work_dir, workers, steps, fresh, MINI)
    if outcome.status:
        return outcome.status
    from xlearner_mm.experiments.predictions import detect, segment  # needs matplotlib, which is slow to import

    squeeze = MINI.trainings_of('xlearner_seg')
    stages = {
        'Hard-sharing': 'hard_sharing_seg_flops_r18',
        'X-Learner, expanded': squeeze[0],
        'X-Learner, squeezed': squeeze[-1],
    }
    predictions = {}
    for entry in sets:
        folder = entry.folder(work_dir / 'xlearner_seg', 0)
        predict = {'det': detect, 'seg': segment}.get(entry.task)
        if predict:
            title = f'xlearner_seg transferred to {entry.name}: test images'
            predictions[title] = predict(folder / entry.config.name, folder)
    report = update_report(
        work_dir,
        [variant_row(name, work_dir, sets, outcome.seconds) for name in DEMO],
        upstream={'xlearner_seg, expanded': upstream_of(squeeze[0], work_dir)},
        trainings={f'{title}: loss': read_results(stage_dir(work_dir, name)) for title, name in stages.items()},
        predictions=predictions,
        chance=CHANCE,
    )
    _show(report, work_dir)
    print(f'this run took {(time.monotonic() - began) / 60:.1f} min')
    return 0


def _run(
    names: Sequence[str], work_dir: Path, workers: int, steps: int | None, fresh: bool, family: Family
) -> tuple[Outcome, list[TransferSet]]:
    sets = transfer_sets(family.configs / 'transfer')
    fork = can_fork()
    return JobRunner(variant_jobs(names, work_dir, sets, steps, family), work_dir, workers, fork).run(fresh), sets


def _show(report: Report, work_dir: Path) -> None:
    report.show()
    print('written:', *(work_dir / name for name in REPORT_FILES))
