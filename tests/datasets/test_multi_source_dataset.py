import json

import pytest
import torch
from mmpretrain.datasets import CustomDataset

from tests.datasets.small_sources import BOX, class_folders, coco, write_coco
from xlearner_mm.datasets import MultiSourceDataset, multi_source_collate
from xlearner_mm.errors import BadImageError, SourceError
from xlearner_mm.registry import DATASETS
from xlearner_mm.testing import index_sources


def test_items_are_those_of_the_sources_in_order():
    dataset = MultiSourceDataset(index_sources(a=(3, 1), b=(2, 1)))
    assert len(dataset) == 5
    assert [(item['source'], item['data']['index']) for item in map(dataset.__getitem__, range(5))] == [
        ('a', 0),
        ('a', 1),
        ('a', 2),
        ('b', 0),
        ('b', 1),
    ]


def test_metainfo_stays_apart():
    sources = index_sources(a=(3, 1), b=(2, 1))
    sources['a']['dataset']['tag'], sources['b']['dataset']['tag'] = 'birds', 'cars'
    assert MultiSourceDataset(sources).metainfo == {'a': {'tag': 'birds'}, 'b': {'tag': 'cars'}}


def test_an_index_beyond_the_end_is_an_error():
    with pytest.raises(IndexError, match='5 .*not within.* 5 images'):
        MultiSourceDataset(index_sources(a=(3, 1), b=(2, 1))).locate(5)


def test_an_empty_dataset_is_refused_by_name():
    with pytest.raises(SourceError, match="source 'b': .*empty"):
        MultiSourceDataset(index_sources(a=(3, 1), b=(0, 1)))


def test_a_missing_folder_is_refused_by_source_and_path(tmp_path):
    sources = index_sources(a=(3, 1))
    missing = str(tmp_path / 'nowhere')
    sources['pets'] = dict(
        task='cls',
        batch_size=1,
        dataset=dict(_scope_='mmpretrain', type='CustomDataset', data_root=missing, data_prefix='train', pipeline=[]),
    )
    with pytest.raises(SourceError, match=f"source 'pets'.*{missing}"):
        MultiSourceDataset(sources)


def labels_of(tmp_path, **settings):
    dataset = MultiSourceDataset({'pets': {**class_folders(tmp_path), **settings}})
    stock = dataset.datasets['pets']
    return dataset.images['pets'], [
        (stock.get_data_info(i)['img_path'], stock.get_data_info(i)['gt_label']) for i in range(len(stock))
    ]


def test_a_share_of_a_classification_source_keeps_every_class_and_is_a_subset_of_a_larger_one(tmp_path):
    (_, whole), (count, most), (_, least) = (labels_of(tmp_path, data_fraction=share) for share in (1, 0.67, 0.34))
    assert len(whole) == 6
    assert count == len(most) == 4
    assert sorted(label for _, label in least) == [0, 1]
    assert set(least) < set(most) < set(whole)


@DATASETS.register_module()
class EagerFolders(CustomDataset):
    """A dataset that reads its annotations when it is built, whatever ``lazy_init`` says."""

    def __init__(self, lazy_init=False, **kwargs):
        super().__init__(**kwargs)


def test_a_share_is_drawn_whatever_lazy_init_says(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['lazy_init'] = False
    assert len(MultiSourceDataset({'pets': {**source, 'data_fraction': 0.34}})) == 2


def test_annotations_are_checked_whatever_lazy_init_says(tmp_path):
    source = coco(tmp_path)
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    write_coco(tmp_path, lambda content: content['annotations'][0].update(area=0))
    repeated = dict(type='RepeatDataset', times=2, lazy_init=False, dataset=dict(inner, lazy_init=False))
    for dataset in (dict(inner, lazy_init=False), repeated):
        with pytest.raises(BadImageError, match='an object whose area is 0'):
            MultiSourceDataset({'pets': {**source, 'dataset': dict(_scope_='mmdet', **dataset)}})


def test_a_dataset_that_reads_when_it_is_built_is_refused_by_source_and_class(tmp_path):
    source = class_folders(tmp_path)
    source['dataset']['type'] = 'EagerFolders'
    with pytest.raises(SourceError, match=r"source 'pets': EagerFolders has read .* built, .*pass it on"):
        MultiSourceDataset({'pets': source})


def test_a_share_of_a_dataset_in_a_wrapper_that_needs_its_classes_is_refused(tmp_path):
    source = class_folders(tmp_path)
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    source['dataset'] = dict(_scope_='mmpretrain', type='RepeatDataset', times=2, dataset=inner)
    assert len(MultiSourceDataset({'pets': source})) == 12
    with pytest.raises(SourceError, match=r"'pets'.*data_fraction=0\.5.*RepeatDataset"):
        MultiSourceDataset({'pets': {**source, 'data_fraction': 0.5}})


def test_a_share_of_a_dataset_that_is_not_mmengines_is_refused():
    sources = index_sources(a=(3, 1))
    sources['a']['data_fraction'] = 0.5
    with pytest.raises(SourceError, match=r"'a'.*data_fraction=0\.5.*IndexDataset"):
        MultiSourceDataset(sources)


def skipping(root, source, max_share, **settings):
    """A source of 100 listed images, of which the annotations of three are bad."""
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=96, height=72) for i in range(100)],
        annotations=[dict(id=i, image_id=i, category_id=1, bbox=BOX, area=0 if i < 3 else 9) for i in range(100)],
        categories=[dict(id=1, name='cat')],
    )
    (root / 'train.json').write_text(json.dumps(content))
    bad_data = dict(policy='skip', max_share=max_share)
    return MultiSourceDataset({'pets': {**source, 'bad_data': bad_data, **settings}})


def known_and(dataset, count):
    return {**dataset.bad_images['pets'], **{f'unreadable {i}': 'cannot be read' for i in range(count)}}


@pytest.mark.parametrize('part', ['data_fraction', 'indices'])
def test_bad_annotations_of_all_images_count_in_proportion_where_some_are_used(tmp_path, part):
    source = coco(tmp_path)
    if part == 'indices':
        source['dataset']['indices'] = 10
    dataset = skipping(tmp_path, source, 0.03, data_fraction=0.1 if part == 'data_fraction' else 1)
    assert (len(dataset), dataset.images, len(dataset.bad_images['pets'])) == (10, {'pets': 10}, 3)
    dataset.refuse_more('pets', known_and(dataset, 0))
    with pytest.raises(SourceError, match=r'1 of 10 images are bad, .*the last is unreadable 0'):
        dataset.refuse_more('pets', known_and(dataset, 1))


def test_bad_annotations_and_unreadable_images_of_a_whole_source_are_one_share(tmp_path):
    dataset = skipping(tmp_path, coco(tmp_path), 0.04)
    dataset.refuse_more('pets', known_and(dataset, 1))
    with pytest.raises(SourceError, match='5 of 100 images are bad'):
        dataset.refuse_more('pets', known_and(dataset, 2))


def test_more_bad_annotations_than_the_share_are_an_error_in_a_part_too(tmp_path):
    with pytest.raises(SourceError, match='3 of 100 images are bad'):
        skipping(tmp_path, coco(tmp_path), 0.02, data_fraction=0.1)


def test_repeated_images_are_not_more_images_of_the_source(tmp_path):
    source = coco(tmp_path)
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    source['dataset'] = dict(_scope_='mmdet', type='RepeatDataset', times=5, dataset=inner)
    dataset = skipping(tmp_path, source, 0.03)
    assert (len(dataset), dataset.images) == (5 * 97, {'pets': 100})
    with pytest.raises(SourceError, match='4 of 100 images are bad'):
        dataset.refuse_more('pets', known_and(dataset, 1))


def test_an_image_that_cannot_be_read_is_named_with_its_source(tmp_path):
    sources = index_sources(a=(3, 1))
    broken = tmp_path / 'train' / 'cat' / 'broken.jpg'
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b'no picture')
    dataset = dict(
        _scope_='mmpretrain',
        type='CustomDataset',
        data_root=str(tmp_path),
        data_prefix='train',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    sources['pets'] = dict(task='cls', batch_size=1, dataset=dataset)
    with pytest.raises(BadImageError, match=r"source 'pets': .*broken\.jpg .*read"):
        MultiSourceDataset(sources)[3]


def test_a_misspelled_dataset_type_is_refused_by_source():
    sources = index_sources(a=(3, 1))
    sources['a']['dataset']['type'] = 'TinyIdexDataset'
    with pytest.raises(SourceError, match="source 'a': .*dataset.* built.*TinyIdexDataset"):
        MultiSourceDataset(sources)


def test_samples_are_grouped_by_source_and_sizes_may_differ():
    small, large = torch.zeros(3, 8, 8), torch.zeros(3, 8, 16)
    batch = multi_source_collate(
        [
            {'source': 'coco', 'data': {'inputs': small, 'data_samples': 'first'}},
            {'source': 'imagenet', 'data': {'inputs': small, 'data_samples': 'second'}},
            {'source': 'coco', 'data': {'inputs': large, 'data_samples': 'third'}},
        ]
    )
    assert list(batch) == ['coco', 'imagenet']
    assert batch['coco']['inputs'][0] is small
    assert batch['coco']['inputs'][1] is large
    assert batch['coco']['data_samples'] == ['first', 'third']
    assert batch['imagenet']['data_samples'] == ['second']
