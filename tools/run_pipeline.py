"""Run variants of X-Learner on small data, each from its sources to its transfers; each adds its row to one report.

python tools/run_pipeline.py xlearner_pp
python tools/run_pipeline.py all --paper

Variants: hard_sharing, xlearner, xlearner_pp (++), xlearner_seg (w/ seg), xlearner_wo_rec (w/o Rec.), xlearner_t,
xlearner_r, xlearner_p, and for comparison scratch, hard_sharing_flops, hard_sharing_seg and hard_sharing_seg_flops:
hard_sharing has as many optimizer steps as xlearner, hard_sharing_flops as many FLOPs. Trainings that several variants
need run once. It may be interrupted at any time: the same command continues.
"""

import argparse
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('variants', nargs='+', metavar='VARIANT', help="one or more of the above, or 'all'")
    parser.add_argument('--data', choices=('mini', 'photo'), default='mini', help='XL-Mini, or XL-Photo')
    parser.add_argument('--work-dir', type=Path, help='folder for all output; work_dirs/<data> by default')
    parser.add_argument('--workers', type=int, default=2, help='number of concurrent trainings')
    parser.add_argument('--paper', action='store_true', help="show the slides' rows beside ours")
    parser.add_argument('--fresh', action='store_true', help='run again what has finished')
    parser.add_argument('--steps', type=int, help='length of every training, for a quick trial')
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    args = parser.parse_args()
    if args.workers < 1:
        parser.error(f'--workers must be at least 1, got {args.workers}')
    return args


def main() -> int:
    """Run the variants; return the exit status."""
    args = parse_args()
    args.work_dir = args.work_dir and args.work_dir.absolute()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core per worker; read when torch is imported
    from xlearner_mm.engine.loggers import log_to
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.experiments.run import run_pipeline

    work_dir = args.work_dir or Path('work_dirs') / args.data
    try:
        log_to(args.log)
        return run_pipeline(args.variants, work_dir, args.workers, args.steps, args.paper, args.fresh, args.data)
    except USER_ERRORS as error:
        return print_error(error)


if __name__ == '__main__':
    sys.exit(main())
