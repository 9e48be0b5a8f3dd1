"""Draw the curves of a squeeze: loss and similarity per branch and level, fidelity per source.

python tools/visualize_squeeze.py work_dirs/xlearner_r18_squeeze --out squeeze.png
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path, help='of a squeeze, also one that is still running')
    parser.add_argument('--out', type=Path, default=Path('squeeze.png'), help='the PNG to write (default: squeeze.png)')
    return parser.parse_args()


def main() -> int:
    """Draw; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.visualization.squeeze_curves import read_squeeze, save_squeeze_curves

    try:
        curves = read_squeeze(args.work_dir)
    except USER_ERRORS as error:
        return print_error(error)
    save_squeeze_curves(curves, args.out)
    drawn = ['losses', *(['similarities'] if curves.similarities else []), *(['fidelity'] if curves.fidelity else [])]
    print(f'{args.out}: {", ".join(drawn)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
