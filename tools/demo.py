"""The whole job on small data: sources, expansion, squeeze, transfer, report.

python tools/demo.py

It may be interrupted at any time: the same command continues.
"""

import argparse
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, help='folder for all output (default: work_dirs/demo)')
    parser.add_argument('--workers', type=int, default=2, help='number of concurrent trainings')
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
    """Run the demo; return the exit status."""
    args = parse_args()
    args.work_dir = args.work_dir and args.work_dir.absolute()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core per worker; read when torch is imported
    from xlearner_mm.engine.loggers import log_to
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.experiments.run import run_demo

    try:
        log_to(args.log)
        return run_demo(args.work_dir or Path('work_dirs/demo'), args.workers, args.steps, args.fresh)
    except USER_ERRORS as error:
        return print_error(error)


if __name__ == '__main__':
    sys.exit(main())
