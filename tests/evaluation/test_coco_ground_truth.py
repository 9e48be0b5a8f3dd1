"""Annotations accepted in training are measured correctly, or refused before the first step."""

import json

import numpy as np
import pytest

from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.errors import SourceError
from xlearner_mm.evaluation import MultiSourceEvaluator
from xlearner_mm.evaluation.coco_ground_truth import perfect_results

PETS = ('cat', 'dog', 'bird')
POLYGON = [4, 6, 28, 6, 28, 26, 4, 26]


def content_of(categories=PETS):
    """Six pictures with one object each, of cat, dog, bird, cat, dog, bird."""
    images = [dict(id=i + 1, file_name=f'{i}.png', width=64, height=64) for i in range(6)]
    objects = [
        dict(id=i + 1, image_id=i + 1, category_id=i % 3 + 1, bbox=[4, 6, 24, 20], area=480, iscrowd=0)
        for i in range(6)
    ]
    for found in objects:
        found['segmentation'] = [list(POLYGON)]
    named = [dict(id=PETS.index(name) + 1 if name in PETS else 9, name=name) for name in categories]
    return dict(images=images, annotations=objects, categories=named)


def evaluator_of(folder, change=lambda content: None, categories=PETS, classes=PETS, **settings):
    content = content_of(categories)
    change(content)
    (folder / 'val.json').write_text(json.dumps(content))
    metric = dict(_scope_='mmdet', type='CocoMetric', ann_file=str(folder / 'val.json'), **settings)
    source = dict(task='det', batch_size=1, dataset={}, val_dataloader=dict(dataset={}), val_evaluator=metric)
    evaluator = MultiSourceEvaluator({'pets': source})
    evaluator.set_dataset_meta('pets', dict(classes=classes))
    return evaluator


def score(evaluator, key='bbox_mAP_50'):
    """AP of a detector that is right about every picture, its labels numbered as the classes are."""
    (metric,) = evaluator.evaluators['pets'].metrics
    classes = metric.dataset_meta['classes']
    truth = metric._coco_api
    for image in truth.imgs.values():
        boxes = np.array([[4, 6, 28, 26]], float)
        number = int(image['file_name'][0]) % 3
        predicted = dict(bboxes=boxes, scores=np.ones(1), labels=np.array([classes.index(PETS[number])]))
        if 'segm' in metric.metrics:
            predicted['masks'] = [perfect_results(metric, [])[0][1]['masks'][0]]
        gt = dict(img_id=image['id'], width=64, height=64)
        metric.results.append((gt, dict(img_id=image['id'], **predicted)))
    return evaluator.evaluate('pets', 6)[f'pets/coco/{key}']


def each(key, value):
    def change(content):
        for i, found in enumerate(content['annotations']):
            found[key] = value(i) if callable(value) else value

    return change


def first(key, value, where='annotations'):
    return lambda content: content[where][0].update({key: value})


def without(key, where='annotations'):
    def change(content):
        for found in content[where]:
            del found[key]

    return change


def text_images(content):
    for image, found in zip(content['images'], content['annotations'], strict=True):
        image['id'] = found['image_id'] = f'picture {image["id"]}'


MEASURED = {
    'as they should be': lambda content: None,
    'ids from 0': each('id', lambda i: i),
    'ids that are texts': each('id', lambda i: f'a{i}'),
    'ids that several have': each('id', 1),
    'ids that are null': each('id', None),
    'no iscrowd': without('iscrowd'),
    'images whose ids are texts': text_images,
    'image ids from 0': lambda content: [
        (image.update(id=i), content['annotations'][i].update(image_id=i)) for i, image in enumerate(content['images'])
    ],
    'another order of categories': lambda content: content['categories'].reverse(),
    'a category that is no class': lambda content: content['categories'].insert(0, dict(id=9, name='lion')),
}


@pytest.mark.parametrize('case', MEASURED)
def test_a_perfect_detector_has_an_ap_of_1(tmp_path, case):
    assert score(evaluator_of(tmp_path, MEASURED[case])) == 1


def test_unusable_masks_are_refused_by_annotation(tmp_path):
    assert score(evaluator_of(tmp_path, each('id', lambda i: i), metric='segm'), 'segm_mAP_50') == 1


@pytest.mark.parametrize('categories', [('dog', 'cat', 'bird'), ('dog', 'bird'), ('bird', 'dog', 'cat')])
@pytest.mark.parametrize('classes', [PETS, ('bird', 'cat', 'dog')])
def test_labels_are_measured_by_the_names_of_the_classes(tmp_path, categories, classes):
    def change(content):
        ids = [category['id'] for category in content['categories']]
        content['annotations'] = [found for found in content['annotations'] if found['category_id'] in ids]

    assert score(evaluator_of(tmp_path, change, categories, classes)) == 1


REFUSED = {
    "no category for 1 of the 3 classes .*is 'dog' their 'dgo'": first('name', 'dgo', 'categories'),
    "has a category without 'id' or 'name'": lambda content: content['categories'][1].pop('name'),
    'has several categories of id 1': lambda content: content['categories'][1].update(id=1),
    'annotation 1 of image 1 has area=None': first('area', None),
    "annotation 1 of image 1 has area='480'": first('area', '480'),
    'annotation 1 of image 1 has area=nan': first('area', float('nan')),
    r'annotation 1 of image 1 has bbox=\[1, 2, 3\]: it must be 4 numbers': first('bbox', [1, 2, 3]),
    'has bbox=None': first('bbox', None),
    'has bbox=.*inf': first('bbox', [1, 2, 3, float('inf')]),
    "has iscrowd=None: it must be 0 or 1": first('iscrowd', None),
    "ids of its images are not all whole numbers, or all texts: 'one' and 2": first('id', 'one', 'images'),
    "ids of its categories are not all": lambda content: content['categories'][0].update(id='one'),
    'has no object of its classes': lambda content: content['annotations'].clear(),
    "has no 'annotations'": lambda content: content.pop('annotations'),
    'several images share': first('id', 2, 'images'),
}  # fmt: skip


@pytest.mark.parametrize('message', REFUSED)
def test_unmeasurable_annotations_are_refused_by_source_and_file(tmp_path, message):
    change = REFUSED[message]
    if 'dgo' in message:
        change = lambda content: content['categories'][1].update(name='dgo')  # noqa: E731
    with pytest.raises(SourceError, match=rf"source 'pets': its val_evaluator CocoMetric .*val\.json: .*{message}"):
        evaluator_of(tmp_path, change)


MASKS = {
    'three points or more': [[], [4, 6], [4, 6, 28, 26], [4, 6, 28, 6, 28], [4, 6, float('nan'), 6, 28, 26]],
    'no segmentation': [None, [], 'x'],
    'a mask of': [dict(size=[32, 32], counts=[10, 20, 994]), dict(counts=[1])],
    'run lengths do not add up': [dict(size=[64, 64], counts=[10, 20])],
    'without run lengths': [dict(size=[64, 64], counts=None), dict(size=[64, 64], counts='')],
}


@pytest.mark.parametrize('message', MASKS)
def test_masks_that_cannot_be_measured_are_refused_where_masks_are(tmp_path, message):
    for mask in MASKS[message]:
        whole = [mask] if message.startswith('three') else mask
        assert evaluator_of(tmp_path, first('segmentation', whole), metric='bbox')
        with pytest.raises(SourceError, match=rf'annotation 1 of image 1 .*{message}'):
            evaluator_of(tmp_path, first('segmentation', whole), metric=['bbox', 'segm'])


def test_classwise_metrics_need_category_ids_in_class_order(tmp_path):
    evaluator_of(tmp_path, classwise=True)
    with pytest.raises(SourceError, match='category ids.*order.*classes.*classwise=False'):
        evaluator_of(tmp_path, classes=('dog', 'cat', 'bird'), classwise=True)


def test_results_alone_need_no_annotations(tmp_path):
    settings = dict(format_only=True, outfile_prefix=str(tmp_path / 'out'))
    evaluator_of(tmp_path, lambda content: content.pop('annotations'), **settings)


def dataset_of(folder, change=lambda content: None, **settings):
    content = content_of()
    change(content)
    (folder / 'data.json').write_text(json.dumps(content))
    settings = dict(data_prefix=dict(img=str(folder)), metainfo=dict(classes=PETS), **settings)
    config = dict(_scope_='mmdet', type='CocoDataset', ann_file=str(folder / 'data.json'), test_mode=True, **settings)
    dataset = build_deferred(config)
    dataset.full_init()
    return dataset


def test_images_that_are_not_validated_do_not_count(tmp_path):
    evaluator = evaluator_of(tmp_path)
    (note,) = evaluator.compare_images('pets', dataset_of(tmp_path, indices=4))
    assert note.startswith('2 of the 6 images of its val_evaluator')
    (metric,) = evaluator.evaluators['pets'].metrics
    assert metric.img_ids == [1, 2, 3, 4]
    assert evaluator_of(tmp_path).compare_images('pets', dataset_of(tmp_path)) == []


def test_a_metric_of_other_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r'no image.* id 7.*data set.*0\.png'):
        evaluator_of(tmp_path).compare_images('pets', dataset_of(tmp_path, first('id', 7, 'images')))
    renamed = dataset_of(tmp_path, first('file_name', 'a/other.png', 'images'))
    with pytest.raises(SourceError, match=r'image 1 .*0\.png.*data set.*other\.png'):
        evaluator_of(tmp_path).compare_images('pets', renamed)
