"""Evaluate a checkpoint with the test loop of its config.

python tools/test.py configs/mini/xlearner_r18_expansion.py work_dirs/xlearner_r18_expansion
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a text config')
    parser.add_argument('checkpoint', help='a checkpoint, or the work dir whose last one is taken')
    parser.add_argument('--work-dir', help='where logs go (default: work_dirs/<config name>)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Evaluate; return the exit status."""
    args = parse_args()
    from xlearner_mm.engine.launch import launch

    return launch(
        'test',
        args.config,
        work_dir=args.work_dir,
        options=args.cfg_options,
        launcher=args.launcher,
        checkpoint=args.checkpoint,
    )


if __name__ == '__main__':
    sys.exit(main())
