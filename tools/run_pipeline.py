"""Run variants of X-Learner in miniature, each from its sources to its transfers; each adds its row to one report.

python tools/run_pipeline.py xlearner_pp
python tools/run_pipeline.py all --paper

Variants: hard_sharing, xlearner, xlearner_pp (++), xlearner_seg (w/ seg), xlearner_wo_rec (w/o Rec.), xlearner_t,
xlearner_r, xlearner_p, and for comparison scratch, hard_sharing_flops, hard_sharing_seg and hard_sharing_seg_flops:
hard_sharing has as many optimizer steps as xlearner, hard_sharing_flops as many FLOPs. Interrupt it when you like: the
same command goes on from there, and what several variants need is trained once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

TRANSFER_CONFIGS = Path('configs/mini/transfer')
# The slides' rows that --paper puts beside ours.
PAPER = (
    *('ImageNet supervised', 'SimCLR', 'Hard-sharing', 'X-Learner', 'X-Learner++', 'X-Learner w/ seg'),
    *('X-Learner w/o Rec.', 'X-Learner_t', 'X-Learner_r', 'X-Learner_p'),
)


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('variants', nargs='+', metavar='VARIANT', help="one or more of the above, or 'all'")
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/mini'), help='where everything goes')
    parser.add_argument('--workers', type=int, default=2, help='how many trainings run at once')
    parser.add_argument('--paper', action='store_true', help="put the slides' rows beside ours")
    parser.add_argument('--fresh', action='store_true', help='start over')
    parser.add_argument('--steps', type=int, help='train everything for so few steps only: tries it out')
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f'--workers must be at least 1, got {args.workers}')
    return args


def main() -> int:
    """Run the variants' jobs, then report; return the exit status."""
    args = parse_args()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core a worker; read when torch is imported
    import torch

    from xlearner_mm.experiments.variant_jobs import variant_jobs, variant_row
    from xlearner_mm.experiments.variants import VARIANTS
    from xlearner_mm.mini import CATALOG
    from xlearner_mm.pipeline import JobRunner
    from xlearner_mm.pipeline.runner import INTERRUPTED
    from xlearner_mm.report.report import REPORT_FILES, update_report
    from xlearner_mm.transfer.suite import transfer_sets

    names = list(VARIANTS) if args.variants == ['all'] else args.variants
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        print(f"error: unknown variant(s) {unknown}; choose from {[*VARIANTS]} or 'all'", file=sys.stderr)
        return 1
    if args.fresh:
        shutil.rmtree(args.work_dir, ignore_errors=True)
    sets = transfer_sets(TRANSFER_CONFIGS)
    # A copy of this process can use no GPU that this one has looked for.
    fork = sys.platform == 'linux' and not torch.cuda.is_available()
    outcome = JobRunner(variant_jobs(names, args.work_dir, sets, args.steps), args.work_dir, args.workers, fork).run()

    if outcome.status == INTERRUPTED:
        return outcome.status
    lost = set(outcome.failed) | set(outcome.left_out)
    rows = [
        variant_row(name, args.work_dir, sets, outcome.seconds)
        for name in names
        if not lost.intersection(job.name for job in variant_jobs([name], args.work_dir, sets))
    ]
    if outcome.status and not (lost and rows):
        return outcome.status
    chance = {name: 100 / len(entry.classes) for name, entry in CATALOG.items() if entry.task == 'cls'}
    report = update_report(args.work_dir, rows, PAPER if args.paper else None, chance=chance)
    report.show()
    print('written:', *(args.work_dir / name for name in REPORT_FILES))
    return outcome.status


if __name__ == '__main__':
    sys.exit(main())
