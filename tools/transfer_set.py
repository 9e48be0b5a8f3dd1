"""Transfer a backbone to one set: a probe of cached features, or the set's stock training.

python tools/transfer_set.py configs/mini/transfer/cls_letters.py --checkpoint work_dirs/demo/xlearner_seg/backbone.pth
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Parse the command line; ``--help`` needs no heavy import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='a transfer config')
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument('--checkpoint', help='any checkpoint with a backbone, or the work dir of a training')
    start.add_argument('--random-start', action='store_true', help='no checkpoint: the baseline of pre-training')
    parser.add_argument('--branch', help='of an expansion checkpoint, the branch to transfer')
    parser.add_argument('--work-dir', type=Path, help='folder for all output (default: work_dirs/<config name>)')
    parser.add_argument('--features', type=Path, help='folder of cached features (default: in the work dir)')
    parser.add_argument(
        '--set-name', default='', help="part of the seed of a data fraction (default: the config's name)"
    )
    parser.add_argument('--seed', type=int, default=0, help='of all randomness (default: 0)')
    parser.add_argument('--probe', choices=['lbfgs', 'sgd', 'knn'], default='lbfgs', help='of classification sets')
    parser.add_argument('--data-fraction', type=float, default=1.0, help='share of the training images (default: 1)')
    freezing = parser.add_mutually_exclusive_group()
    freezing.add_argument('--frozen', action='store_true', help='freeze the backbone')
    freezing.add_argument('--finetune', action='store_true', help='train the backbone too')
    parser.add_argument('--resume', action='store_true', help='continue from the latest checkpoint in the work dir')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    return parser.parse_args()


def main() -> int:
    """Transfer; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import ConfigError, print_error
    from xlearner_mm.transfer.protocol import Protocol
    from xlearner_mm.transfer.transfer_set import transfer_to_set

    frozen = True if args.frozen else False if args.finetune else None
    try:
        protocol = Protocol(frozen, args.probe, args.data_fraction)
    except ConfigError as error:
        return print_error(error)
    return transfer_to_set(
        args.config,
        args.work_dir or Path('work_dirs') / args.config.stem,
        args.checkpoint,
        protocol,
        seed=args.seed,
        name=args.set_name,
        branch=args.branch,
        features=args.features,
        options=args.cfg_options,
        resume=args.resume,
        log=args.log,
    )


if __name__ == '__main__':
    sys.exit(main())
