"""Measure how long a training takes to its first step, and a dry run of the paper's largest ResNet-50 training.

python tools/benchmark/startup.py

A stock classifier is trained for one step, started by tools/train.py and by MMEngine's Runner alone: CPU time of the
whole process, medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(type='ClsDataPreprocessor', num_classes=4, mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(type='XLearnerResNet', depth=18, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=512, loss=dict(type='CrossEntropyLoss')),
)
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{data}', pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
"""
STOCK = """
import sys
from mmengine.config import Config
from mmengine.runner import Runner
cfg = Config.fromfile(sys.argv[1])
cfg.work_dir = sys.argv[2]
Runner.from_cfg(cfg).train()
"""


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5, help='rounds that count')
    parser.add_argument('--dry-run', default='configs/expansion/xlearner_r50_500k_base.py', help='config to dry-run')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def main() -> None:
    """Print the ratio of both starts, and the seconds of the dry run."""
    args = parse_args()
    from loading import CLASSES, save_picture
    from measurement import Ratio, print_ratios

    taken: dict[str, list[float]] = {'tools/train.py': [], "MMEngine's Runner": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(8):
            save_picture(Path(folder, 'data', CLASSES[number % 4], f'{number}.jpg'), 64, number)
        config = Path(folder, 'config.py')
        config.write_text(CONFIG.replace('{data}', f'{folder}/data'))
        commands = {
            'tools/train.py': ['tools/train.py', str(config), '--work-dir', f'{folder}/ours'],
            "MMEngine's Runner": ['-c', STOCK, str(config), f'{folder}/stock'],
        }
        for number in range(1 + args.rounds):
            for name, command in commands.items():
                seconds = cpu_seconds(command)
                if number >= 1:
                    taken[name].append(seconds)
        ours, stock = (median(seconds) for seconds in taken.values())
        lines = [Ratio('to the first step', 'tools/train.py', "MMEngine's Runner", ours, stock)]
        imports = cpu_seconds(['-c', 'import mmengine.runner, mmdet.apis, mmseg.apis, mmpretrain.apis'])
        dry = cpu_seconds(['tools/train.py', args.dry_run, '--dry-run'])
        lines.append(
            Ratio(f'dry run of {Path(args.dry_run).stem}', 'tools/train.py --dry-run', 'imports', dry, imports)
        )
    print_ratios('CPU time of a process', lines, args.json)


def cpu_seconds(arguments: Sequence[str]) -> float:
    """CPU time of a Python process.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = os.times()
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        done.check_returncode()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == '__main__':
    main()
