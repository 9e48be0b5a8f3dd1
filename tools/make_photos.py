"""Convert clones of public repositories to XL-Photo, the small sets of photographs."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from xlearner_mm.errors import ConfigError, print_error
from xlearner_mm.photos import CATALOG, check_photos, clone_commands, make_photos


def parse_args() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('raw', metavar='RAW', nargs='?', help='folder of the clones, each named like its repository')
    parser.add_argument('out', metavar='OUT', nargs='?', default='data/xl_photo', help='folder to write to')
    parser.add_argument('--check', action='store_true', help='only check a folder, the only argument')
    parser.add_argument('--clone', action='store_true', help='first clone the repositories that RAW lacks (1.2 GB)')
    parser.add_argument('--only', nargs='+', metavar='NAME', help=f'sets to convert; all are: {" ".join(CATALOG)}')
    args = parser.parse_args()
    if args.raw is None and not args.check:
        parser.error('RAW is missing: the folder of the clones')
    if args.check and args.out != parser.get_default('out'):
        parser.error(f'--check takes one folder, got {args.raw} and {args.out}')
    return args


def main() -> int:
    """Convert the sets; return 0, or 1 after an error that the user can fix."""
    args = parse_args()
    start = time.perf_counter()

    def report(line: str) -> None:
        print(f'{time.perf_counter() - start:6.1f} s  {line}', flush=True)

    try:
        if args.check:
            check_photos(args.raw or args.out, args.only)
            return 0
        if args.clone:
            for command in clone_commands(args.raw, args.only):
                report(' '.join(command))
                subprocess.run(command, check=True)
        make_photos(args.raw, args.out, args.only, report)
    except (ConfigError, OSError, subprocess.CalledProcessError) as error:
        return print_error(error)
    print(f'done: {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
