"""Measure how long a training takes to its first step, and a dry run of the paper's largest ResNet-50 training.

python tools/benchmark/startup.py

A stock classifier is trained for one step, started by tools/train.py and by MMEngine's Runner alone: CPU time of the
whole process, medians of interleaved rounds. Annotations: those of a COCO source, read the first time and restored from
the annotation cache the next times, against mmdet's dataset alone, without the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

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

ANNOTATIONS = """
import sys
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.registry import DATASETS
path, cache = sys.argv[1:]
dataset = dict(
    type='CocoDataset', _scope_='mmdet', ann_file=path, metainfo=dict(classes=[f'class {i}' for i in range(80)]),
    data_prefix=dict(img='images'), filter_cfg=dict(filter_empty_gt=True, min_size=32), pipeline=[])
if cache:
    source = dict(task='det', batch_size=2, dataset=dataset)
    MultiSourceDataset(dict(it=source), annotation_cache=dict(folder=cache, least=10))
else:
    DATASETS.build(dataset)
"""


def parse_args() -> argparse.Namespace:
    """Read the command line; answers ``--help`` before anything heavy is imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5, help='rounds that count')
    parser.add_argument('--images', type=int, default=300_000, help='of the COCO file whose annotations are kept')
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
        lines += annotation_lines(Path(folder), args.images)
    print_ratios('CPU time of a process', lines, args.json)


def annotation_lines(folder: Path, images: int) -> list[Any]:
    """Ratios of a COCO source's annotations, read and restored, to mmdet's dataset alone; without the imports."""
    from measurement import Ratio

    write_coco(folder / 'coco.json', images)
    write_coco(folder / 'few.json', 10)

    def seconds(name: str, cache: str) -> float:
        return cpu_seconds(['-c', ANNOTATIONS, f'{folder}/{name}.json', cache])

    few, stock, first = (seconds(*each) for each in (('few', ''), ('coco', ''), ('coco', f'{folder}/cache')))
    again = median(seconds('coco', f'{folder}/cache') for _ in range(3))
    what, alone = f'annotations of {images:,} images', 'mmdet alone'
    lines = [Ratio(what, way, alone, own - few, stock - few) for way, own in (('first', first), ('again', again))]
    return lines


def write_coco(path: Path, images: int) -> None:
    """A COCO file of images with seven boxes each, settled."""
    listed = [{'id': i, 'file_name': f'{i:012d}.jpg', 'width': 640, 'height': 480} for i in range(images)]
    boxes = [
        {
            'id': number,
            'image_id': number // 7,
            'category_id': 1 + number % 80,
            'bbox': [number % 301 + 0.25, number % 199 + 0.5, 64.13, 48.5],
            'area': 3110.3,
            'iscrowd': 0,
        }
        for number in range(7 * images)
    ]
    categories = [{'id': 1 + i, 'name': f'class {i}'} for i in range(80)]
    path.write_text(json.dumps({'images': listed, 'annotations': boxes, 'categories': categories}))
    time.sleep(3)


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
