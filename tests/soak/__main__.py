"""Kill trainings of both stages at random moments and print how many survive: ``python -m tests.soak --kills 50``."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(prog='python -m tests.soak', description=__doc__)
    parser.add_argument('--kills', type=int, default=50, help='kills per stage (default: 50)')
    parser.add_argument('--stages', nargs='+', default=['expansion', 'squeeze'], help='default: both')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    args = parser.parse_args()
    from mmengine.logging import MMLogger

    from .soak import Soak

    MMLogger.get_current_instance().setLevel(logging.ERROR)
    done, start = True, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for stage in args.stages:
            soak = Soak(stage, Path(folder) / stage, args.seed)
            done &= soak.run(
                args.kills, report=lambda line: print(f'[{time.monotonic() - start:6.0f} s] {line}', flush=True)
            )
            print(f'{stage}: survived {soak.survived} / tried {soak.tried}', flush=True)
    return 0 if done else 1


if __name__ == '__main__':
    sys.exit(main())
