"""Check the files of a config's sources before a job starts.

python tools/check_sources.py configs/expansion/xlearner_r50_500k_base.py --samples 1000
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a text config with sources')
    parser.add_argument('--samples', default='100', help="images to open per split, or 'all' (default: 100)")
    parser.add_argument('--sheet', metavar='PNG', help='draw some images of every source with their labels')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='overrides of the config')
    args = parser.parse_args()
    if args.samples != 'all' and not (args.samples.isdecimal() and int(args.samples)):
        parser.error(f"--samples must be a number of at least 1 or 'all', got {args.samples!r}")
    args.samples = None if args.samples == 'all' else int(args.samples)
    return args


def main() -> int:
    """Print what was found; return 0, or 1 if anything would end or spoil a training."""
    args = parse_args()
    from xlearner_mm.analysis.check_sources import check_config

    return check_config(args.config, args.samples, args.sheet, args.cfg_options)


if __name__ == '__main__':
    sys.exit(main())
