"""Pretrain a backbone on folders of labeled images: recognize them, write configs, and run both stages.

python tools/pretrain.py --cls birds=data/birds --det traffic=data/traffic --seg data/streets --out work_dirs/mine

The same command continues an interrupted run, and keeps what you have changed in the written configs.
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for task, labels in (
        ('cls', 'class folders, or images and a list'),
        ('det', 'boxes as COCO, VOC or YOLO'),
        ('seg', 'images and masks'),
    ):
        parser.add_argument(
            f'--{task}',
            nargs='+',
            action='extend',
            default=[],
            metavar='NAME=FOLDER',
            help=f'{labels}; without NAME: as the folder is called',
        )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for everything that is written')
    parser.add_argument(
        '--plan', action='store_true', help='say what is understood and chosen, write configs, and stop'
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--budget', metavar='TIME', help='time to take, such as 90m or 8h')
    length.add_argument('--epochs', type=float, help='of the largest source (default: 100 on a GPU, 10 on a CPU)')
    length.add_argument('--steps', type=int, help=argparse.SUPPRESS)
    parser.add_argument('--seed', type=int, default=0, help='of splits and trainings (default: 0)')
    parser.add_argument('--workers', type=int, help='processes that load images (default: by the cores)')
    parser.add_argument(
        '--backbone', help='resnet18, resnet50, ...; resnet18-w16 is narrow (default: by device and data)'
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], help='default: a GPU if there is one')
    parser.add_argument(
        '--log',
        nargs='+',
        default=(),
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    return parser.parse_args()


def main() -> int:
    """Pretrain; return the exit status."""
    settings = vars(parse_args())
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.pretraining.run import pretrain

    try:
        pretrain(**settings)
    except USER_ERRORS as error:
        return print_error(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
