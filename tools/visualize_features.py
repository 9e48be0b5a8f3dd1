"""Draw what branches and student see in images: three principal components of their features as colors.

python tools/visualize_features.py work_dirs/xlearner_r18_squeeze/iter_{50,450}.pth --out features.png
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', nargs='+', help='of either stage, or work dirs whose last one is taken')
    parser.add_argument('--out', default='features.png', help='the PNG to write (default: features.png)')
    parser.add_argument('--source', nargs='+', default=[], help='whose validation images (default: all sources)')
    parser.add_argument('--count', type=int, default=1, help='validation images of each source (default: 1)')
    parser.add_argument('--images', nargs='+', type=Path, default=[], help='image files in place of the sources')
    parser.add_argument('--level', nargs='+', type=int, default=[1], help='levels i, from 0 (default: 1)')
    parser.add_argument('--config', help="the training's config (default: the one beside the checkpoint)")
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='overrides of the config')
    args = parser.parse_args()
    if args.count < 1:
        parser.error(f'--count must be at least 1, got {args.count}')
    return args


def main() -> int:
    """Draw; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.visualization.feature_map import draw_features

    try:
        draw_features(
            args.checkpoint,
            Path(args.out),
            levels=args.level,
            files=args.images,
            sources=args.source,
            count=args.count,
            config=args.config,
            options=args.cfg_options,
        )
    except USER_ERRORS as error:
        return print_error(error)
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
