"""Layouts as recognition returns them, devices, and small folders on disk."""

from pathlib import Path

import pytest

from xlearner_mm.layouts import Layout, Objects, Sizes, Split
from xlearner_mm.mini import make_mini
from xlearner_mm.pretraining.choices import Device

CPU = Device('cpu', 'a CPU', 8e9, 1e10)
GPU = Device('cuda', 'a GPU', 20e9, 3e13)
DATASETS = {
    'cls': {'type': 'CustomDataset', 'data_root': 'somewhere', 'data_prefix': 'train'},
    'det': {
        'type': 'CocoDataset',
        'metainfo': {'classes': ('cat', 'dog')},
        'data_root': 'somewhere',
        'ann_file': 'train.json',
        'data_prefix': {'img': ''},
    },
    'seg': {
        'type': 'BaseSegDataset',
        'metainfo': {'classes': ('cat', 'dog'), 'palette': [[0, 0, 0], [9, 9, 9]]},
        'data_root': 'somewhere',
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'masks'},
    },
}
EVALUATORS = {
    'cls': {'type': 'Accuracy', 'topk': (1,)},
    'det': {'type': 'CocoMetric', 'ann_file': 'somewhere/train.json', 'metric': 'bbox'},
    'seg': {'type': 'IoUMetric', 'iou_metrics': ['mIoU']},
}


def a_layout(task, images=1000, short=64, long=None, per_image=2.0, relative_size=0.3, name=None):
    split = Split(images, DATASETS[task])
    size = (long or short, short)
    return Layout(
        name=name or f'my_{task}',
        task=task,
        folder=Path('somewhere'),
        kind='a kind',
        classes=('cat', 'dog'),
        train=split,
        val=split,
        evaluator=EVALUATORS[task],
        labels_loading={},
        sizes=Sizes(short, long or short, size, size),
        objects=Objects(per_image, relative_size) if task == 'det' else None,
    )


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    """A folder of each task, named as a user might, with a few images."""
    root = tmp_path_factory.mktemp('own')
    own = {'digits': 'my notes', 'det_shapes': 'signs', 'seg_things': 'objects'}
    for made in make_mini(root, scale=0.01, only=list(own)):
        made.rename(root / own[made.name])
        (root / own[made.name] / 'xl_mini.json').unlink()
    return root
