"""Repeat variants over seeds and compare them; every finished run is a line of docs/study/ledger.jsonl.

python tools/study.py mini
python tools/study.py links --workers 1 --seeds 2
python tools/study.py --report

Studies: links (kinds of link), squeeze (settings of the squeeze), mini (the slides' variants on XL-Mini), photo
(XL-Photo). It may be interrupted at any time: the same command continues, on this machine from its work directory, on
another one from the ledger. --report writes docs/study.md and its figures from the ledger.
"""

import argparse
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', nargs='?', choices=('links', 'squeeze', 'mini', 'photo'), help='what to run')
    parser.add_argument('--rows', nargs='+', default=[], help='rows to run; all by default')
    parser.add_argument('--seeds', type=int, help='at most this many seeds')
    parser.add_argument('--workers', type=int, default=2, help='number of concurrent jobs')
    parser.add_argument('--steps', type=int, help='length of every training, for a quick trial that is not recorded')
    parser.add_argument('--work-dir', type=Path, help='folder for all output (default: work_dirs/study)')
    parser.add_argument('--ledger', type=Path, help='file of finished runs (default: docs/study/ledger.jsonl)')
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    parser.add_argument('--report', action='store_true', help='write docs/study.md from the ledger')
    parser.add_argument('--record', metavar='ROW', help=argparse.SUPPRESS)
    parser.add_argument('--seed', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--digest', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if (args.study is None) != args.report:
        parser.error('name a study, or --report for all')
    for option in ('workers', 'seeds', 'steps'):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            parser.error(f'--{option} must be at least 1, got {getattr(args, option)}')
    return args


def main() -> int:
    """Run a study, or report on all; return the exit status."""
    args = parse_args()
    args.work_dir, args.ledger = (path and path.absolute() for path in (args.work_dir, args.ledger))
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # one core per worker; read when torch is imported
    from xlearner_mm.engine.loggers import log_to
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.experiments.study import LEDGER, WORK_DIR, record, run_study

    work_dir, ledger = args.work_dir or WORK_DIR, args.ledger or LEDGER
    try:
        if args.report:
            from xlearner_mm.experiments.study_report import write_report

            write_report(ledger)
            return 0
        if args.record:
            print(record(args.study, args.record, args.seed, work_dir, ledger, args.digest))
            return 0
        log_to(args.log)
        return run_study(args.study, args.workers, args.rows, args.seeds, work_dir, ledger, args.steps)
    except USER_ERRORS as error:
        return print_error(error)


if __name__ == '__main__':
    sys.exit(main())
