"""Transfer a backbone to the paper's downstream tasks, and add its row to the report.

python tools/transfer.py work_dirs/demo/xlearner_seg/backbone.pth --suite mini
python tools/transfer.py work_dirs/xlearner_r50_200k_base --suite paper --data-fraction 0.1 --seeds 3 --paper X-Learner

It may be interrupted at any time: the same command continues.
"""

import argparse
import os
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'checkpoint',
        help="an export, a training's checkpoint or work dir, a published ResNet, or an address; 'scratch': random",
    )
    parser.add_argument(
        '--suite', default='paper', help='paper, mini, photo, or a folder of transfer configs (default: paper)'
    )
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', help='only these sets')
    parser.add_argument(
        '--name', help="of the row, unique per checkpoint (default: derived from the checkpoint's path)"
    )
    parser.add_argument('--branch', help='of an expansion checkpoint, the branch to transfer')
    parser.add_argument('--work-dir', type=Path, help='folder for all output (default: work_dirs/transfer_<suite>)')
    parser.add_argument('--workers', type=int, help='number of concurrent transfers (default: one per GPU, or one)')
    parser.add_argument('--seeds', type=int, default=1, help='repeat everything with seeds 0, 1, ... (default: 1)')
    parser.add_argument('--data-fraction', type=float, default=1.0, help='share of the training images (default: 1)')
    parser.add_argument(
        '--probe', choices=['lbfgs', 'sgd', 'knn'], default='lbfgs', help='of frozen backbones (default: lbfgs)'
    )
    freezing = parser.add_mutually_exclusive_group()
    freezing.add_argument('--frozen', action='store_true', help='freeze the backbone in every task')
    freezing.add_argument('--finetune', action='store_true', help='train the backbone in every task')
    parser.add_argument('--paper', nargs='+', metavar='ROW', help="the slides' rows to show beside it")
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='overrides of every config')
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    return parser.parse_args()


def main() -> int:
    """Run the suite; return the exit status."""
    args = parse_args()
    if args.checkpoint != 'scratch' and Path(args.checkpoint).exists():
        args.checkpoint = str(Path(args.checkpoint).absolute())
    args.work_dir = args.work_dir and args.work_dir.absolute()
    suite = Path(args.suite).absolute()
    os.chdir(Path(__file__).resolve().parent.parent)  # configs name data by paths from here
    from xlearner_mm.engine.loggers import log_to
    from xlearner_mm.errors import ConfigError, print_error
    from xlearner_mm.transfer.protocol import SUITES, Protocol
    from xlearner_mm.transfer.suite import run_suite

    if args.suite not in SUITES and suite.is_dir():
        args.suite = str(suite)
    frozen = True if args.frozen else False if args.finetune else None
    try:
        log_to(args.log)
        protocol = Protocol(frozen, args.probe, args.data_fraction, args.seeds)
    except ConfigError as error:
        return print_error(error)
    return run_suite(
        args.checkpoint,
        args.suite,
        args.only,
        name=args.name,
        protocol=protocol,
        work_dir=args.work_dir,
        workers=args.workers,
        branch=args.branch,
        paper=args.paper,
        options=args.cfg_options,
    )


if __name__ == '__main__':
    sys.exit(main())
