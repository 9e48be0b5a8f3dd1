"""The wrappers that users know, around the dataset of a source."""

import pytest

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler

from .tiny_runner import image_sources


@pytest.fixture
def folder(tmp_path):
    """A class folder with six images of one class and one of another."""
    import cv2
    import numpy as np

    for name, count in (('common', 6), ('rare', 1)):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(tmp_path / 'train' / name / f'{index}.png'), np.full((8, 8, 3), index, np.uint8))
    return tmp_path


def with_source(dataset):
    """Two sources, the dataset being that of the first one."""
    sources = {name: image_sources()[name] for name in ('birds', 'boxes')}
    sources['birds']['dataset'] = dataset
    return MultiSourceDataset(sources)


def images(folder, **kwargs):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    return dict(type='CustomDataset', data_root=str(folder), data_prefix='train', pipeline=pipeline, **kwargs)


def labels(dataset):
    birds = range(dataset.lengths['birds'])
    return [int(dataset[index]['data']['data_samples'].gt_label) for index in birds]


def test_a_repeated_source(folder):
    dataset = with_source(dict(_scope_='mmpretrain', type='RepeatDataset', times=3, dataset=images(folder)))
    assert dataset.lengths == {'birds': 21, 'boxes': 8}
    assert labels(dataset) == [0, 0, 0, 0, 0, 0, 1] * 3
    assert dataset.metainfo['birds']['classes'] == ('common', 'rare')


def test_a_class_balanced_source_shows_the_rare_class_more_often(folder):
    balanced = dict(_scope_='mmpretrain', type='ClassBalancedDataset', oversample_thr=0.9, dataset=images(folder))
    seen = labels(with_source(balanced))
    assert seen.count(1) > 1
    assert seen.count(0) >= 6


@pytest.mark.parametrize(('indices', 'expected'), [(3, [0, 0, 0]), ([0, 6], [0, 1])])
def test_a_subset_of_a_source(folder, indices, expected):
    assert labels(with_source(dict(_scope_='mmpretrain', **images(folder, indices=indices)))) == expected


def test_the_sampler_draws_from_wrapped_sources(folder):
    dataset = with_source(dict(_scope_='mmpretrain', type='RepeatDataset', times=3, dataset=images(folder)))
    sampler = MultiSourceSampler(dataset, seed=0, steps_per_epoch=10)
    drawn = list(sampler)
    assert len(drawn) == 10 * 4
    assert sorted(index for index in drawn if index < 21)[:3] == [0, 1, 2], '20 of the 21 in one own epoch'
