"""Replay a training step with a non-finite loss, and name the first module with a non-finite output.

python tools/replay_step.py configs/mini/xlearner_r18_expansion.py work_dirs/xlearner_r18_expansion/nonfinite_step_7.pth
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config of the training')
    parser.add_argument('step', help='nonfinite_step_<N>.pth from the work dir of the training')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    return parser.parse_args()


def main() -> int:
    """Replay; return the exit status."""
    args = parse_args()
    from xlearner_mm.engine.recovery.replay import replay_step
    from xlearner_mm.errors import USER_ERRORS, print_error

    try:
        for line in replay_step(args.config, args.step, tuple(args.cfg_options)).lines():
            print(line)
    except USER_ERRORS as error:
        return print_error(error)
    return 0


if __name__ == '__main__':
    sys.exit(main())
