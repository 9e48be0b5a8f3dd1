"""Download public datasets into the folders where our configs look for them.

python tools/download_data.py --list
python tools/download_data.py cifar100 pets voc2007 voc2012

Archives and checksums are torchvision's. For datasets that need a registration or a conversion (imagenet1k, coco ...),
the official page and the steps are printed. A repeated command continues.
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help='datasets, see --list')
    parser.add_argument('--list', action='store_true', help='names and states of all datasets')
    parser.add_argument(
        '--data', type=Path, default=Path('data'), help='the data folder of the configs (default: data)'
    )
    args = parser.parse_args()
    if not args.names and not args.list:
        parser.error('name a dataset, or --list')
    return args


def main() -> int:
    """Download; return the exit status."""
    args = parse_args()
    from xlearner_mm.public_data import download_sets, list_sets

    if args.list:
        print(list_sets(args.data))
    try:
        return download_sets(args.names, args.data)
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
