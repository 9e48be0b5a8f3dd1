"""Print a config as a training gets it: base configs, options, and the sources of each component.

python tools/print_config.py configs/mini/xlearner_r18_expansion.py --cfg-options sources.digits.batch_size=8
python tools/print_config.py configs/transfer/coco/det_coco.py --world-size 4 > resolved.py
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a text config')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='overrides of the config')
    parser.add_argument('--raw', action='store_true', help='before sources are passed to the components')
    parser.add_argument('--world-size', type=int, default=1, help='number of processes that share a step (default: 1)')
    return parser.parse_args()


def main() -> int:
    """Print; return the exit status."""
    args = parse_args()
    from xlearner_mm.analysis.resolved_config import print_config

    return print_config(args.config, args.cfg_options, args.raw, args.world_size)


if __name__ == '__main__':
    sys.exit(main())
