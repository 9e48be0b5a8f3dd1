from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from xlearner_mm.mini import CATALOG, Layout
from xlearner_mm.mini.layouts import run_lengths, voc_palette

CLS = [e.name for e in CATALOG.values() if e.layout in (Layout.CLASS_FOLDERS, Layout.CLASS_FOLDERS_PNG)]


@pytest.mark.parametrize('name', CLS)
def test_class_folders(mini_root, name):
    for split in CATALOG[name].counts:
        folders = {path.name for path in (mini_root / name / split).iterdir()}
        assert folders == set(CATALOG[name].classes)
    picture = next((mini_root / name).glob('*/*/*'))
    assert picture.suffix == ('.png' if name == 'digits' else '.jpg')
    with Image.open(picture) as image:
        assert (image.size, image.mode) == ((64, 64), 'RGB')


@pytest.mark.parametrize('name', ['det_shapes', 'det_digits'])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco(mini_root, name, split):
    path = mini_root / name / 'annotations' / f'instances_{split}.json'
    content = json.loads(path.read_text())
    assert [c['name'] for c in content['categories']] == list(CATALOG[name].classes)
    ids = {image['id'] for image in content['images']}
    assert len(ids) == CATALOG[name].scaled(0.01)[split]
    assert all((mini_root / name / split / im['file_name']).is_file() for im in content['images'])
    assert {a['image_id'] for a in content['annotations']} == ids
    assert len({a['id'] for a in content['annotations']}) == len(content['annotations'])
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        assert x >= 0 <= y
        assert x + width <= 64 >= y + height
        assert 0 < annotation['area'] <= width * height
        assert sum(annotation['segmentation']['counts']) == 64 * 64
        assert sum(annotation['segmentation']['counts'][1::2]) == annotation['area']
        assert annotation['iscrowd'] == 0


def test_run_lengths_go_down_the_columns_and_begin_with_zeros():
    assert run_lengths(np.array([[False, True], [False, True]])) == [2, 2]
    assert run_lengths(np.array([[True, False], [False, False]])) == [0, 1, 3]


def test_seg_dirs(mini_root):
    values = set()
    for split in ('train', 'val'):
        pictures = sorted((mini_root / 'seg_things' / 'img_dir' / split).iterdir())
        masks = sorted((mini_root / 'seg_things' / 'ann_dir' / split).iterdir())
        assert [p.stem for p in pictures] == [m.stem for m in masks]
        values |= set(np.unique([np.asarray(Image.open(mask)) for mask in masks]).tolist())
    assert values == {0, 1, 2, 3, 4, 5, 255}


def test_voc_detection(mini_root):
    base = mini_root / 'voc_mini' / 'VOC2007'
    lists = {p.stem: p.read_text().split() for p in (base / 'ImageSets' / 'Main').iterdir()}
    assert set(lists) == {'train', 'val', 'trainval', 'test'}
    assert lists['trainval'] == lists['train'] + lists['val']
    assert not set(lists['trainval']) & set(lists['test'])
    classes = set()
    for name in lists['trainval'] + lists['test']:
        assert (base / 'JPEGImages' / f'{name}.jpg').is_file()
        top = ElementTree.parse(base / 'Annotations' / f'{name}.xml').getroot()
        assert top.findtext('filename') == f'{name}.jpg'
        assert top.findtext('size/width') == top.findtext('size/height') == '64'
        assert top.findall('object')
        for node in top.findall('object'):
            classes.add(node.findtext('name'))
            assert node.findtext('difficult') in ('0', '1')
            assert node.findtext('truncated') in ('0', '1')
            assert node.findtext('pose')
            box = [int(node.findtext(f'bndbox/{k}')) for k in ('xmin', 'ymin', 'xmax', 'ymax')]
            assert 1 <= box[0] < box[2] <= 64
            assert 1 <= box[1] < box[3] <= 64
    assert classes == set(CATALOG['voc_mini'].classes)


def test_voc_segmentation(mini_root):
    base = mini_root / 'voc_seg_mini' / 'VOC2012'
    for split in ('train', 'val'):
        for name in (base / 'ImageSets' / 'Segmentation' / f'{split}.txt').read_text().split():
            assert (base / 'JPEGImages' / f'{name}.jpg').is_file()
            with Image.open(base / 'SegmentationClass' / f'{name}.png') as mask:
                assert mask.mode == 'P'
                assert set(np.unique(mask)) <= {0, 1, 2, 3, 4, 5, 255}


def test_voc_palette_is_the_known_one():
    colors = np.reshape(voc_palette(), (256, 3)).tolist()
    assert colors[1] == [128, 0, 0]
    assert colors[15] == [192, 128, 128]
    assert colors[255] == [224, 224, 192]


def test_nyu_depth_is_in_millimeters(mini_root):
    for split in ('train', 'test'):
        maps = sorted((mini_root / 'nyu_mini' / 'annotations' / split).iterdir())
        pictures = sorted((mini_root / 'nyu_mini' / 'images' / split).iterdir())
        assert [p.stem for p in pictures] == [m.stem for m in maps]
        for path in maps:
            depth = np.asarray(Image.open(path))
            assert depth.dtype == np.uint16
            assert depth.min() >= 500
            assert depth.max() <= 10000
            assert np.ptp(depth) > 100
