"""The whole job on small data: sources, expansion, squeeze, transfer, report.

python tools/demo.py

Interrupt it when you like: the same command goes on from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xlearner_mm.report.report import Report
    from xlearner_mm.transfer.suite import TransferSet

TRANSFER_CONFIGS = Path('configs/mini/transfer')
METHODS = ('scratch', 'hard_sharing_seg', 'hard_sharing_seg_flops', 'xlearner_seg')


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='where everything goes')
    parser.add_argument('--workers', type=int, default=2, help='how many trainings run at once')
    parser.add_argument('--fresh', action='store_true', help='start over')
    parser.add_argument('--steps', type=int, help='train everything for so few steps only: tries the demo out')
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f'--workers must be at least 1, got {args.workers}')
    return args


def main() -> int:
    """Run all tools in order; return the exit status."""
    args = parse_args()
    began = time.monotonic()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core a worker; read when torch is imported
    print('X-Learner in miniature: about 12 minutes on 2 cores', flush=True)
    import torch

    from xlearner_mm.experiments.variant_jobs import variant_jobs
    from xlearner_mm.pipeline import JobRunner
    from xlearner_mm.report.report import REPORT_FILES
    from xlearner_mm.transfer.suite import transfer_sets

    if args.fresh:
        shutil.rmtree(args.work_dir, ignore_errors=True)
    sets = transfer_sets(TRANSFER_CONFIGS)
    jobs = variant_jobs(METHODS, args.work_dir, sets, args.steps)
    # A copy of this process can use no GPU that this one has looked for.
    fork = sys.platform == 'linux' and not torch.cuda.is_available()
    outcome = JobRunner(jobs, args.work_dir, args.workers, fork).run()
    if outcome.status:
        return outcome.status

    report = demo_report(args.work_dir, sets, outcome.seconds)
    report.show()
    print('written:', *(args.work_dir / name for name in REPORT_FILES))
    print(f'this run took {(time.monotonic() - began) / 60:.1f} min')
    return 0


def demo_report(work_dir: Path, sets: list[TransferSet], seconds: dict[str, float]) -> Report:
    """Write down what has been measured, and return it.

    Args:
        work_dir: parent of all work directories.
        sets: the transfer sets.
        seconds: job -> how long it took.
    """
    from xlearner_mm.experiments.variant_jobs import stage_dir, upstream_of, variant_row
    from xlearner_mm.experiments.variants import VARIANTS
    from xlearner_mm.mini import CATALOG
    from xlearner_mm.report.predictions import detect, segment
    from xlearner_mm.report.report import update_report
    from xlearner_mm.report.results import read_results
    from xlearner_mm.transfer.suite import seed_folder

    squeeze = VARIANTS['xlearner_seg'].trainings()
    titles = {
        'Hard-sharing': 'hard_sharing_seg_r18',
        'X-Learner, expanded': squeeze[0],
        'X-Learner, squeezed': squeeze[-1],
    }
    upstream = {'xlearner_seg, expanded': upstream_of(squeeze[0], work_dir)}  # the rows bring their own
    rows = [variant_row(method, work_dir, sets, seconds) for method in METHODS]
    trainings = {f'{title}: loss': read_results(stage_dir(work_dir, name)) for title, name in titles.items()}
    predictions = {}
    for entry in sets:
        folder = seed_folder(work_dir, 'xlearner_seg', entry, 0)
        predict = {'det': detect, 'seg': segment}.get(entry.task)
        if predict:
            title = f'xlearner_seg transferred to {entry.name}: test images'
            predictions[title] = predict(folder / entry.config.name, folder)
    chance = {name: 100 / len(entry.classes) for name, entry in CATALOG.items() if entry.task == 'cls'}
    return update_report(work_dir, rows, None, upstream, trainings, predictions, chance)


if __name__ == '__main__':
    sys.exit(main())
