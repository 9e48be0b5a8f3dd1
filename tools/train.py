"""Train a config: either stage of X-Learner, or a transfer.

python tools/train.py configs/mini/xlearner_r18_expansion.py
python tools/train.py configs/expansion/xlearner_r50_500k_base.py --dry-run --world-size 64 --flops-per-second 156e12
"""

import argparse
import sys


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a text config')
    parser.add_argument('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from a checkpoint or a work dir; when none is named, from the own work dir if it has one',
    )
    parser.add_argument(
        '--resume-schedule',
        choices=['checkpoint', 'config'],
        help="whose schedule, rate and optimizer settings a resumed training has (default: the checkpoint's)",
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings to override')
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=('tensorboard', 'mlflow', 'wandb'),
        help='trackers to log to beside those of the config',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    dry = parser.add_argument_group('dry run', 'build it all on the CPU without data, and say what it will take')
    dry.add_argument('--dry-run', action='store_true')
    dry.add_argument('--world-size', type=int, default=1, help='number of GPUs')
    dry.add_argument('--flops-per-second', type=float, help='of one GPU, in the precision of the training')
    dry.add_argument('--utilization', type=float, default=0.3, help='share of them that is reached (default: 0.3)')
    dry.add_argument('--json', help='a file for the figures')
    args = parser.parse_args()
    for name in ('world_size', 'flops_per_second', 'utilization', 'json'):
        if not args.dry_run and getattr(args, name) != parser.get_default(name):
            option = name.replace('_', '-')
            parser.error(f'--{option} is for --dry-run alone; tools/dist_train.sh starts a training on several GPUs')
    if args.resume_schedule is not None:
        args.cfg_options.append(f'resume_schedule={args.resume_schedule}')
    return args


def main() -> int:
    """Train; return the exit status."""
    args = parse_args()
    if args.dry_run:
        from xlearner_mm.analysis.dry_run import dry_run

        return dry_run(
            args.config,
            options=args.cfg_options,
            amp=args.amp,
            world_size=args.world_size,
            flops_per_second=args.flops_per_second,
            utilization=args.utilization,
            json_file=args.json,
        )
    from xlearner_mm.engine.launch import launch

    return launch(
        'train',
        args.config,
        work_dir=args.work_dir,
        options=args.cfg_options,
        launcher=args.launcher,
        resume=args.resume,
        amp=args.amp,
        log=args.log,
    )


if __name__ == '__main__':
    sys.exit(main())
