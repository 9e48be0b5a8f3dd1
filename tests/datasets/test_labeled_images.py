"""Classification sets that no OpenMMLab library has, read from their own annotation files."""

import json

import pytest

from tests.fixtures import write_fixtures
from xlearner_mm.registry import DATASETS

SETS = {
    'inat2021': ('INat2021', 'inat2021', 'val', 10000),
    'places365': ('Places365', 'places365', 'val', 365),
    'stanford_dogs': ('StanfordDogs', 'stanford_dogs', 'test', 120),
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    data = tmp_path_factory.mktemp('data')
    write_fixtures(data, SETS, images=3)
    return data


def build(kind, root, **kwargs):
    if kind == 'Places365':
        kwargs.setdefault('variant', 'challenge')
    return DATASETS.build(dict(_scope_='mmpretrain', type=kind, data_root=str(root), **kwargs))


@pytest.mark.parametrize('name', SETS)
@pytest.mark.parametrize('held_out', [False, True])
def test_images_and_classes_are_those_of_the_official_files(data, name, held_out):
    kind, folder, split, classes = SETS[name]
    dataset = build(kind, data / folder, split=split if held_out else 'train')
    assert len(dataset.metainfo['classes']) == classes
    assert len(dataset) >= 3
    for i in range(3):
        assert dataset.get_data_info(i)['gt_label'] == i
        assert dataset.get_cat_ids(i) == [i]
    assert list(dataset.get_gt_labels()[:3]) == [0, 1, 2]


def test_class_names_are_without_the_prefixes_of_the_files(data):
    assert build('StanfordDogs', data / 'stanford_dogs').metainfo['classes'][0] == 'Breed_0'
    scenes = build('Places365', data / 'places365').metainfo['classes']
    assert (scenes[0], scenes[2]) == ('airfield', 'field/cultivated')


@pytest.mark.parametrize('name', SETS)
def test_a_pipeline_of_mmpretrain_reads_the_image(data, name):
    kind, folder, *_ = SETS[name]
    dataset = build(kind, data / folder, pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
    sample = dataset[1]
    assert tuple(sample['inputs'].shape) == (3, 72, 96)
    assert sample['data_samples'].gt_label.item() == 1


def test_a_class_balanced_wrapper_of_the_stock_library_takes_them(data):
    inner = dict(type='StanfordDogs', data_root=str(data / 'stanford_dogs'))
    wrapped = DATASETS.build(
        dict(_scope_='mmpretrain', type='ClassBalancedDataset', dataset=inner, oversample_thr=1 / 60)
    )
    assert len(wrapped) == 2 * 120


@pytest.mark.parametrize('name', SETS)
def test_a_missing_list_is_named_with_its_origin(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path}/.*does not exist: it is in'):
        build(SETS[name][0], tmp_path)


@pytest.mark.parametrize(('kind', 'setting'), [(s[0], 'split') for s in SETS.values()] + [('Places365', 'variant')])
def test_an_unknown_split_or_variant_is_refused(tmp_path, kind, setting):
    with pytest.raises(ValueError, match=f"unknown {setting} of .* 'tset', choose from"):
        build(kind, tmp_path, **{setting: 'tset'})


def test_a_broken_line_is_named(data, tmp_path):
    (tmp_path / 'categories_places365.txt').write_text('/a/airfield 0\n/a/airplane_cabin\n')
    with pytest.raises(ValueError, match=r'categories_places365.txt, line 2: expected'):
        build('Places365', tmp_path)


def test_an_annotation_of_an_unlisted_image_is_refused(data, tmp_path):
    content = json.loads((data / 'inat2021' / 'train.json').read_text())
    content['annotations'][0]['image_id'] = 77
    (tmp_path / 'train.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='annotation.* id 77.*not list'):
        build('INat2021', tmp_path)
