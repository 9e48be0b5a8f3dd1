"""Write XL-Mini, the small datasets of the demo, to disk."""

from __future__ import annotations

import argparse
import sys
import time

from xlearner_mm.errors import ConfigError, print_error
from xlearner_mm.mini import CATALOG, make_mini


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='data/xl_mini', help='folder to write to')
    parser.add_argument('--seed', type=int, default=0, help='determines every byte')
    parser.add_argument('--scale', type=float, default=1.0, help='factor of the number of pictures')
    parser.add_argument('--only', nargs='+', metavar='NAME', help=f'sets to write (default: all): {" ".join(CATALOG)}')
    return parser.parse_args()


def main() -> int:
    """Write the sets; return 0, or 1 after bad input."""
    args = parse_args()
    start = time.perf_counter()
    print('writing XL-Mini: about a minute; complete sets are kept')

    def report(line: str) -> None:
        print(f'{time.perf_counter() - start:6.1f} s  {line}', flush=True)

    try:
        make_mini(args.out, args.seed, args.only, args.scale, report)
    except (ConfigError, OSError) as error:
        return print_error(error)
    print(f'done: {args.out}; look at {args.out}/sheets before training')
    return 0


if __name__ == '__main__':
    sys.exit(main())
