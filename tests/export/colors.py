"""A classification set of three colors that a random backbone can tell apart, mostly; and its transfer config."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {'blue': (60, 60, 160), 'green': (70, 150, 70), 'red': (150, 70, 70)}
CONFIG = """# Transfer by linear probe: colors.
_base_ = '{runtime}'
default_scope = 'mmpretrain'
primary_metric = 'single-label/recall'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(type='XLearnerResNet', depth=18, out_indices=(3,), frozen_stages=4, norm_eval=True),
    neck=[dict(type='GlobalAveragePooling'){norm}],
    head=dict(type='LinearClsHead', num_classes=3, in_channels=512),
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='{root}', data_prefix='train', pipeline=pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=7,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='{root}', data_prefix='test', pipeline=pipeline),
)
val_evaluator = test_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='SingleLabelMetric', items=['recall'])]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = test_cfg = dict()
"""
RUNTIME = Path(__file__).parents[2] / 'configs' / '_base_' / 'default_runtime.py'
NORM = ", dict(type='ClsBatchNormNeck', input_features=512)"


def write_colors(root, seed=0):
    rng = np.random.default_rng(seed)
    for split, count in (('train', 12), ('test', 9)):
        for name, color in COLORS.items():
            for i in range(count):
                pixels = np.clip(np.array(color) + rng.normal(0, 25, 3) + rng.normal(0, 20, (32, 32, 3)), 0, 255)
                path = root / split / name / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)


def config_text(root, norm=NORM):
    """Returns the config of a stock classifier on the set."""
    return CONFIG.format(runtime=RUNTIME, root=root, norm=norm)
