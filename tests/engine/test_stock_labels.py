"""Labels of a training on one stock data set go by names, as those of sources do."""

import pytest

from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import SourceError

from ..datasets.test_classes import AS_THEY_ARE, coco_of


def read(settings):
    dataset = dict(_scope_='mmdet', **settings)
    loader = dict(batch_size=1, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    return XLearnerRunner.build_dataloader(loader, seed=0).dataset


def named(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    names = dataset.metainfo['classes']
    return [(info['img_id'], [names[found['bbox_label']] for found in info['instances']]) for info in infos]


@pytest.mark.parametrize('classes', [('cat', 'dog', 'bird'), ('bird', 'cat', 'dog')])
def test_ap_is_1_for_any_order_of_categories_and_classes(tmp_path, classes):
    assert named(read(coco_of(tmp_path, ('dog', 'bird', 'cat'), classes=classes))) == AS_THEY_ARE


def test_faults_are_found_within_wrappers(tmp_path):
    inner = coco_of(tmp_path, ('dog', 'bird', 'cat'))
    assert named(read(dict(type='RepeatDataset', times=2, dataset=inner))) == AS_THEY_ARE * 2


def test_a_misspelled_class_is_refused_with_its_file(tmp_path):
    with pytest.raises(SourceError, match=r"CocoDataset: .*is 'dgo' their 'dog'.*train\.json"):
        read(coco_of(tmp_path, classes=('cat', 'dgo', 'bird')))
