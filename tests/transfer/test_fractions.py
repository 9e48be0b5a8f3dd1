import copy

import numpy as np
import pytest

from tests.fixtures.pictures import write_picture
from tests.fixtures.transfer_sets import write_voc0712
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import DATASETS
from xlearner_mm.transfer.set_config import Part, draw_fraction, leaf_datasets

COUNTS = {'ant': 20, 'bee': 10, 'cat': 3}


@pytest.fixture(scope='module')
def classification(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    for name, count in COUNTS.items():
        for i in range(count):
            write_picture(root / name / f'{i}.jpg')
    return dict(type='CustomDataset', data_root=str(root), pipeline=[])


def drawn(dataset, fraction, seed=0, name='animals'):
    dataset = copy.deepcopy(dataset)
    return dataset, draw_fraction(dataset, f'{name}/{seed}', fraction, 'mmpretrain')


def test_every_class_keeps_its_share_and_at_least_one_image(classification):
    dataset, _ = drawn(classification, 0.1)
    labels = DATASETS.build({**dataset, '_scope_': 'mmpretrain'}).get_gt_labels()
    assert np.bincount(labels).tolist() == [2, 1, 1]


def test_the_draw_depends_on_seed_and_set_alone(classification):
    indices = [drawn(classification, 0.5, *key)[0]['indices'] for key in ((0, 'a'), (0, 'a'), (1, 'a'), (0, 'b'))]
    assert indices[0] == indices[1]
    assert len(set(map(tuple, indices))) == 3


def test_a_smaller_share_is_part_of_a_larger_one(classification):
    small, large = (set(drawn(classification, fraction)[0]['indices']) for fraction in (0.2, 0.5))
    assert small < large


def test_the_record_says_which_images_of_how_many(classification):
    dataset, parts = drawn(classification, 0.5)
    assert parts == [Part('CustomDataset', 33, dataset['indices'])]


def test_every_data_set_within_wrappers_is_reduced(tmp_path):
    write_voc0712(tmp_path, 10)
    part = dict(type='VOCDataset', data_root=f'{tmp_path}/VOCdevkit/', pipeline=[])
    parts = [
        dict(part, ann_file=f'VOC{year}/ImageSets/Main/trainval.txt', data_prefix=dict(sub_data_root=f'VOC{year}/'))
        for year in (2007, 2012)
    ]
    dataset = dict(type='RepeatDataset', times=3, dataset=dict(type='ConcatDataset', datasets=parts))
    parts = draw_fraction(dataset, 'voc/0', 0.3, 'mmdet')
    assert [len(leaf['indices']) for leaf in leaf_datasets(dataset)] == [3, 3]
    assert parts[0].indices != parts[1].indices


def test_a_config_that_chooses_already_is_refused(classification):
    with pytest.raises(ConfigError, match='CustomDataset.*indices already'):
        drawn({**classification, 'indices': 5}, 0.5)
