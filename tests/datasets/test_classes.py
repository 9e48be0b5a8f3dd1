"""A label never means another class: it goes by names, or the data set is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.pictures import HEIGHT, WIDTH, write_picture
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.classes import read_stock, values_of_maps
from xlearner_mm.errors import SourceError

from .small_sources import COUNT, class_folders, label_maps, voc

PETS = ('cat', 'dog', 'bird')


def coco_of(root, categories=PETS, objects=PETS, name='train.json', kind='CocoDataset', classes=PETS, **settings):
    """Three pictures, 0 of a cat, 1 of a dog and 2 of a bird; a category's id is its place in PETS, from 1."""
    write_json(root / name, categories, objects)
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')]
    folders = dict(data_root=str(root), ann_file=name, data_prefix=dict(img='train'))
    return dict(type=kind, metainfo=dict(classes=classes), pipeline=load, **folders, **settings)


def write_json(path, categories=PETS, objects=PETS, change=lambda content: None):
    images, boxes = [], []
    for i, pet in enumerate(PETS):
        write_picture(path.parent / 'train' / f'{i}.jpg')
        images.append(dict(id=i, file_name=f'{i}.jpg', width=WIDTH, height=HEIGHT))
        if pet in objects:
            boxes.append(dict(id=i, image_id=i, category_id=i + 1, bbox=[20, 12, 40, 36], area=1440, iscrowd=0))
    named = [dict(id=PETS.index(each) + 1 if each in PETS else 9, name=each) for each in categories]
    content = dict(images=images, annotations=boxes, categories=named)
    change(content)
    path.write_text(json.dumps(content))


def read(dataset, scope='mmdet', task='det'):
    return MultiSourceDataset({'pets': dict(task=task, batch_size=1, dataset=dict(_scope_=scope, **dataset))})


def named(dataset):
    """Picture -> the class that its object is labeled as, for each part of a data set."""
    whole = dataset.datasets['pets']
    infos = [whole.get_data_info(i) for i in range(len(whole))]
    names = whole.metainfo['classes']
    return [(info['img_id'], [names[found['bbox_label']] for found in info['instances']]) for info in infos]


AS_THEY_ARE = [(0, ['cat']), (1, ['dog']), (2, ['bird'])]


def refused(dataset, message, **kwargs):
    with pytest.raises(SourceError, match=f"source 'pets': .*{message}"):
        read(dataset, **kwargs)


@pytest.mark.parametrize('kind', ['CocoDataset', 'Objects365V1Dataset', 'Objects365V2Dataset'])
@pytest.mark.parametrize('categories', [PETS, ('bird', 'cat', 'dog'), ('dog', 'bird', 'cat', 'lion')])
def test_labels_are_matched_by_category_name(tmp_path, kind, categories):
    assert named(read(coco_of(tmp_path, categories, kind=kind))) == AS_THEY_ARE


@pytest.mark.parametrize('classes', [('bird', 'cat', 'dog'), ['dog', 'cat', 'bird']])
def test_labels_are_matched_by_name_for_any_order_of_classes(tmp_path, classes):
    dataset = read(coco_of(tmp_path, classes=classes))
    assert named(dataset) == AS_THEY_ARE
    assert list(dataset.datasets['pets'].metainfo['classes']) == list(classes)


def test_a_missing_category_shifts_no_label(tmp_path):
    without = coco_of(tmp_path, ('cat', 'bird'), ('cat', 'bird'), name='no_dog.json')
    assert named(read(without)) == [(0, ['cat']), (1, []), (2, ['bird'])]
    both = dict(type='ConcatDataset', datasets=[coco_of(tmp_path), without])
    assert named(read(both)) == [*AS_THEY_ARE, (0, ['cat']), (1, []), (2, ['bird'])]


def test_a_filter_of_empty_images_sees_the_same_objects(tmp_path):
    settings = coco_of(tmp_path, ('bird', 'cat'), ('cat', 'bird'), filter_cfg=dict(filter_empty_gt=True))
    assert named(read(settings)) == [(0, ['cat']), (2, ['bird'])]


def test_some_classes_of_many_may_be_asked_for(tmp_path):
    assert named(read(coco_of(tmp_path, classes=('bird',)))) == [(0, []), (1, []), (2, ['bird'])]


@pytest.mark.parametrize('misspelled', ['dgo', 'Dog', 'DOG'])
def test_a_misspelled_class_is_refused_with_the_nearest_name(tmp_path, misspelled):
    refused(
        coco_of(tmp_path, classes=('cat', misspelled, 'bird')), rf"no category for 1 of .*is '{misspelled}' their 'dog'"
    )
    refused(
        coco_of(tmp_path, ('cat', misspelled, 'bird')),
        rf"no category for 1 of .*\(dog\).*is 'dog' their '{misspelled}'",
    )


def test_default_coco_classes_do_not_fit_other_categories(tmp_path):
    settings = coco_of(tmp_path, ('cat', 'dog', 'lion'))
    del settings['metainfo']
    refused(settings, r'no category for 78 of the 80 classes .*\(lion\).*set metainfo=dict\(classes=\.\.\.\)')


def doubled_name(content):
    content['categories'].append(dict(id=7, name='dog'))


def doubled_id(content):
    content['categories'].append(dict(id=2, name='lion'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (doubled_name, r"several categories called 'dog', of ids \[2, 7\]"),
        (doubled_id, 'several categories of id 2'),
    ],
)
def test_ambiguous_categories_are_refused(tmp_path, change, message):
    settings = coco_of(tmp_path)
    write_json(tmp_path / 'train.json', change=change)
    refused(settings, rf'{message}.*train\.json')


def test_one_text_or_one_name_twice_is_not_the_names_of_classes(tmp_path):
    refused(coco_of(tmp_path, classes='cat'), r"its classes are the one text 'cat': write \('cat',\)")
    refused(coco_of(tmp_path, classes=('cat', 'dog', 'bird', 'cat')), "several of its classes are called 'cat'")


def test_files_in_which_a_label_means_different_classes_are_not_put_together(tmp_path):
    other = coco_of(tmp_path, name='other.json', classes=('dog', 'cat', 'bird'))
    refused(
        dict(type='ConcatDataset', datasets=[coco_of(tmp_path), other]),
        r"label 0 is 'cat' in .*train\.json, but 'dog' in .*other\.json",
    )


def test_a_stock_dataset_without_images_is_named(tmp_path):
    for folder in ('img', 'mask'):
        (tmp_path / folder).mkdir()
    settings = dict(type='BaseSegDataset', _scope_='mmseg', metainfo=dict(classes=('sky', 'road')), pipeline=[])
    folders = dict(data_root=str(tmp_path), data_prefix=dict(img_path='img', seg_map_path='mask'))
    with pytest.raises(SourceError, match=r'BaseSegDataset: it holds no image; correct its folders.*\(.*/img\)'):
        read_stock(dict(dataset=dict(**settings, **folders), batch_size=1))


def test_a_misspelled_class_of_xml_files_is_refused(tmp_path):
    source = voc(tmp_path)
    source['dataset']['metainfo'] = dict(classes=('cta', 'hound'))
    with pytest.raises(SourceError, match=r'none .*classes \(cta, hound\)'):
        MultiSourceDataset({'pets': source})
    path = tmp_path / 'Annotations' / '0.xml'
    path.write_text(path.read_text().replace('cat', 'hound'))
    with pytest.raises(SourceError, match=r"no object .*'cta'.* names.*'cta' their 'cat'"):
        MultiSourceDataset({'pets': source})


def test_folders_have_the_numbers_of_their_names_order(tmp_path):
    settings = class_folders(tmp_path)['dataset'] | dict(classes=('dog', 'cat'))
    del settings['_scope_']
    refused(settings, "label 0 is 'cat', but its classes call it 'dog'", scope='mmpretrain', task='cls')
    settings['classes'] = ('cat', 'hound')
    refused(settings, "label 1 is 'dog', but its classes call it 'hound'", scope='mmpretrain', task='cls')
    for fitting in (('cat', 'dog'), ('felines', 'canines')):  # as ImageNet's folders are numbers
        settings['classes'] = fitting
        assert read(settings, 'mmpretrain', 'cls').metainfo['pets']['classes'] == fitting


@pytest.mark.parametrize('filed', [dict(classes=['dog', 'cat']), dict(categories=[dict(id=0, category_name='dog')])])
def test_classes_in_a_file_are_not_silently_overridden(tmp_path, filed):
    write_picture(tmp_path / '0.jpg')
    content = dict(metainfo=filed, data_list=[dict(img_path='0.jpg', gt_label=0)])
    (tmp_path / 'list.json').write_text(json.dumps(content))
    load = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    settings = dict(type='BaseDataset', data_root=str(tmp_path), ann_file='list.json', pipeline=load)
    message = "label 0 is 'dog', but its classes call it 'cat'"
    refused(settings | dict(metainfo=dict(classes=('cat', 'dog'))), message, scope='mmpretrain', task='cls')
    names = read(settings, 'mmpretrain', 'cls').metainfo['pets']['classes']
    assert names[0] == 'dog'


def test_classes_without_images_are_logged_at_the_start(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr('xlearner_mm.datasets.integrity.annotations.print_log', lambda line, *_: told.append(line))
    read(coco_of(tmp_path, objects=('cat', 'bird')))
    assert len(told) == 1
    assert "source 'pets': nothing in" in told[0]
    assert told[0].endswith('train.json is of 1 of the 3 classes: dog')
    read(coco_of(tmp_path))
    assert len(told) == 1


def maps_of(root, *values, classes='ab', **settings):
    """Six maps; of each of ``values``, some pixels in every one."""
    source = label_maps(root)
    for i in range(COUNT):
        Image.fromarray(np.resize(np.array(values, np.uint8), (72, 96))).save(root / 'maps' / f'{i}.png')
    source['dataset'].update(metainfo=dict(classes=list(classes)), **settings)
    return MultiSourceDataset({'masks': source}).datasets['masks']


@pytest.mark.parametrize(
    ('values', 'classes', 'held'),
    [
        ((0, 255), 'ab', "hold only class 'a' beside 255, which is ignored and is in 6 of them, and none holds b"),
        ((255,), 'ab', 'hold no class beside 255'),
        ((255,), 'a', 'hold no class beside 255'),
        ((1,), 'abc', "hold only class 'b', and none holds a, c"),
    ],
)
def test_maps_of_one_class_or_none_are_a_problem(tmp_path, values, classes, held):
    problem = values_of_maps(maps_of(tmp_path, *values, classes=classes), 255).problem()
    assert f'all 6 label maps {held}' in problem
    assert '/maps: ' in problem


def test_values_are_those_that_the_pipeline_makes_of_them(tmp_path):
    found = values_of_maps(maps_of(tmp_path, 0, 255, reduce_zero_label=True), 255)
    assert found.counts == {255: COUNT}
    assert 'hold no class' in found.problem()


@pytest.mark.parametrize(('values', 'classes'), [((0, 1, 255), 'ab'), ((0, 1), 'abc'), ((0, 255), 'a')])
def test_maps_with_several_classes_have_no_problem(tmp_path, values, classes):
    assert values_of_maps(maps_of(tmp_path, *values, classes=classes), 255).problem() is None


def test_classes_in_no_opened_map_are_counted(tmp_path):
    dataset = maps_of(tmp_path, 0, 2, classes='abcd')
    assert 'all 6 label maps do not hold 2 of the 4 classes: b, d' in values_of_maps(dataset, 255).note()
    assert 'the 2 label maps that were opened, of 6, do not' in values_of_maps(dataset, 255, count=2).note()
    assert values_of_maps(maps_of(tmp_path, 0, 1), 255).note() is None


def test_background_alone_in_the_opened_maps_may_be_rare_objects(tmp_path):
    found = values_of_maps(maps_of(tmp_path, 0), 255, count=2)
    assert found.problem() is None
    assert 'do not hold 1 of the 2 classes: b' in found.note()


def test_maps_that_cannot_be_read_are_left_to_the_reading(tmp_path):
    dataset = maps_of(tmp_path, 0, 1)
    (tmp_path / 'maps' / '0.png').write_bytes(b'no picture')
    assert values_of_maps(dataset, 255).opened == COUNT - 1
