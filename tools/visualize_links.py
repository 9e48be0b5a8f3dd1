"""Draw how strong the links of an expansion checkpoint are: senders' levels against receivers' levels.

python tools/visualize_links.py work_dirs/xlearner_r18_expansion --out links.png
"""

import argparse
import sys
from pathlib import Path


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of the expansion stage, or the work dir whose last one is taken')
    parser.add_argument('--out', default='links.png', help='the PNG to write (default: links.png)')
    return parser.parse_args()


def main() -> int:
    """Draw; return the exit status."""
    args = parse_args()
    from xlearner_mm.errors import USER_ERRORS, print_error
    from xlearner_mm.visualization.link_map import read_links, save_link_map

    try:
        step, strengths = read_links(args.checkpoint)
    except USER_ERRORS as error:
        return print_error(error)
    save_link_map(strengths, Path(args.out), f'Strength of the links at step {step}')
    top = max(strengths, key=lambda key: strengths[key])
    print(
        f'{args.out}: {len(strengths)} links at step {step}; strongest from {top.sender} {top.sender_level} '
        f'to {top.receiver} {top.receiver_level}: {strengths[top]:.3g}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
