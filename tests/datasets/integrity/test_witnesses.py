"""A failure is blamed on one image or on the settings, by what other images do."""

import json
import re

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from tests.datasets.small_sources import (
    COUNT,
    class_folders,
    class_list,
    coco,
    label_maps,
)
from xlearner_mm.analysis.check_sources import check_source
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.errors import BadImageError, SourceError
from xlearner_mm.sources import parse_sources

SKIP = dict(policy='skip', max_share=0.9)


@TRANSFORMS.register_module()
class NeedsADog:
    """A transform that fails on pictures of some class."""

    def __call__(self, data):
        if data['gt_label'] == 0:
            raise ValueError('no dog')
        return data


def told(source, **settings):
    """Return the error of the first image of a source."""
    with pytest.raises(SourceError) as caught:
        MultiSourceDataset({'pets': {**source, **settings}})[0]
    return caught.value


def says(error, pattern):
    assert re.search(pattern, str(error)), error


def pipeline_with(source, index, **transform):
    source['dataset']['pipeline'].insert(index, transform)
    return source


def without_masks(root):
    source = coco(root)
    source['dataset']['pipeline'][1]['with_mask'] = True
    return source


def with_another_reduction(root):
    source = label_maps(root)
    source['dataset']['pipeline'][1]['reduce_zero_label'] = True
    return source


def with_another_input_key(root):
    source = class_folders(root)
    source['dataset']['pipeline'][-1]['input_key'] = 'image'
    return source


SETTINGS = {
    'a list for a tuple': (
        lambda root: pipeline_with(coco(root), 1, type='Resize', scale=[32, 32], keep_ratio=True),
        r'transform Resize \(pipeline\[1\]\) fails: TypeError: Scale must be .*list',
    ),
    'masks without segmentation': (
        without_masks,
        r"transform LoadAnnotations \(pipeline\[1\]\) fails: KeyError: 'mask' \(.*'segmentation'",
    ),
    'labels reduced in the pipeline alone': (
        with_another_reduction,
        r'transform LoadAnnotations \(pipeline\[1\]\) fails: AssertionError: ',
    ),
    'a key that no transform gives': (
        with_another_input_key,
        r"transform PackInputs \(pipeline\[1\]\) fails: KeyError: 'inputs' \(.*input_key",
    ),
}


@pytest.mark.parametrize('bad_data', [dict(policy='error'), SKIP], ids=['error', 'skip'])
@pytest.mark.parametrize('fault', SETTINGS)
def test_a_failure_on_every_image_is_blamed_on_the_transform_and_never_skipped(tmp_path, fault, bad_data):
    make, message = SETTINGS[fault]
    error = told(make(tmp_path), bad_data=bad_data)
    assert not isinstance(error, BadImageError)
    says(error, rf"source 'pets': {message}")
    says(error, f'{COUNT} of {COUNT}.*correct the settings')
    assert 'replace the file' not in str(error)


def test_files_are_cleared_only_once_they_are_loaded(tmp_path):
    transform, _ = SETTINGS['a list for a tuple']
    says(told(transform(tmp_path / 'a')), 'correct the settings of transform Resize .*, not the files$')
    source = class_folders(tmp_path / 'b')
    for path in (tmp_path / 'b').rglob('*.jpg'):
        Image.new('F', (8, 8)).save(path, 'TIFF')  # which OpenCV does not read into colors
    says(told(source), r'LoadImageFromFile.*or, if these are right, the files or their annotations$')


def test_labels_that_all_images_share_are_not_blamed_on_one_of_them(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text(''.join(f'{i}.jpg {i % 2 + 2}\n' for i in range(COUNT)))
    error = told(source, bad_data=SKIP)
    assert not isinstance(error, BadImageError)
    says(error, r'has label 2, but there are 2 classes.*correct the settings')
    says(error, 'or, if these are right, the files or their annotations')


def test_a_folder_without_any_file_is_blamed_on_the_settings(tmp_path):
    source = coco(tmp_path)
    source['dataset']['data_prefix'] = dict(img='elsewhere')
    error = told(source, bad_data=SKIP)
    assert not isinstance(error, BadImageError)
    says(error, r'LoadImageFromFile \(pipeline\[0\]\) fails: FileNotFoundError: .*elsewhere.*correct the settings')


def test_a_failure_on_one_image_is_blamed_on_the_image_with_its_transform(tmp_path):
    source = pipeline_with(class_folders(tmp_path), 1, type='NeedsADog')
    error = told(source)
    assert isinstance(error, BadImageError)
    says(error, r'cat/0\.jpg fails in transform NeedsADog \(pipeline\[1\]\), which other images pass: ValueError: no')
    dataset = MultiSourceDataset({'pets': {**source, 'bad_data': SKIP}})
    assert 'dog' in dataset[0]['data']['data_samples'].img_path, 'it is replaced by another'


def test_any_number_of_non_image_files_is_blamed_individually(tmp_path):
    source = class_folders(tmp_path)
    for path in (tmp_path / 'train').rglob('*.jpg'):
        path.write_bytes(b'no picture')
    error = told(source)
    assert isinstance(error, BadImageError)
    says(error, r'cat/0\.jpg cannot be read')


def test_judging_an_image_does_not_change_random_state(tmp_path):
    dataset = MultiSourceDataset({'pets': pipeline_with(class_folders(tmp_path), 1, type='NeedsADog')})
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    with pytest.raises(BadImageError):
        dataset[0]
    assert np.random.rand() == expected


def test_the_check_of_sources_blames_the_setting_once(tmp_path):
    (source,) = parse_sources({'pets': SETTINGS['a list for a tuple'][0](tmp_path)}).values()
    (report,) = check_source(source)
    (problem,) = report.problems
    assert problem.place == 'its pipeline'
    assert 'Resize (pipeline[1])' in problem.reason


def test_an_annotation_wrong_for_one_image_is_blamed_on_that_image(tmp_path):
    source = without_masks(tmp_path)
    content = json.loads((tmp_path / 'train.json').read_text())
    for found in content['annotations'][1:]:
        found['segmentation'] = [[20, 12, 60, 12, 60, 48]]
    (tmp_path / 'train.json').write_text(json.dumps(content))
    error = told(source)
    assert isinstance(error, BadImageError)
    says(error, r"0\.jpg fails in transform LoadAnnotations .*KeyError: 'mask'")


def test_a_single_image_is_not_blamed_for_a_transform_that_fails_after_it_was_loaded(tmp_path):
    source = SETTINGS['a list for a tuple'][0](tmp_path)
    content = json.loads((tmp_path / 'train.json').read_text())
    content['images'], content['annotations'] = content['images'][:1], content['annotations'][:1]
    (tmp_path / 'train.json').write_text(json.dumps(content))
    says(told(source), r'Resize \(pipeline\[1\]\) fails.*1 of 1')


def test_wrappers_that_mix_images_are_judged_alike(tmp_path):
    source = coco(tmp_path)
    inner = {key: value for key, value in source['dataset'].items() if key != '_scope_'}
    inner['pipeline'] = inner['pipeline'][:2]
    source['dataset'] = dict(
        _scope_='mmdet',
        type='MultiImageMixDataset',
        dataset=inner,
        pipeline=[dict(type='Resize', scale=[32, 32], keep_ratio=True), dict(type='PackDetInputs')],
    )
    error = told(source, bad_data=SKIP)
    assert not isinstance(error, BadImageError)
    says(error, f'Scale must be .*{COUNT} of {COUNT}.*correct the settings')
