"""Write the plain backbone of a squeeze (or hard-sharing) checkpoint to a file of its own.

python tools/export_backbone.py work_dirs/xlearner_r18_squeeze --out work_dirs/xlearner_r18_squeeze/backbone.pth
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='a checkpoint of either stage, or the work dir whose last one is taken')
    parser.add_argument('--out', required=True, help='the file to write, e.g. backbone.pth')
    parser.add_argument('--branch', help='for an expansion checkpoint of several branches: which one')
    return parser.parse_args()


def main() -> int:
    """Export; return the exit status."""
    args = parse_args()
    from xlearner_mm.transfer.checkpoint import CheckpointError
    from xlearner_mm.transfer.export import export_backbone

    try:
        meta = export_backbone(args.checkpoint, args.out, args.branch)
    except CheckpointError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.out}: {meta["backbone"]} from the {meta["stage"]} stage on {", ".join(meta["sources"])}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
