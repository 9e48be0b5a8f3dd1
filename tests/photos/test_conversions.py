"""Each repository's layout becomes the format of a real data set."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photos import repositories
from xlearner_mm.errors import ConfigError
from xlearner_mm.photos import detection, folders, maps


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file())


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_objects_are_the_first_classes_by_name_with_the_chosen_numbers(tmp_path):
    repository = repositories.tiny_imagenet(tmp_path)
    folders.convert_objects(repository, tmp_path / 'out', classes=2, train=range(2), val=range(3, 4))
    assert files(tmp_path / 'out') == [
        f'{split}/{name}/{number:05d}.jpg'
        for split, count in (('train', 2), ('val', 1))
        for name in ('n01', 'n02')
        for number in range(count)
    ]


def test_signs_are_scaled_and_the_rest_is_for_validation(tmp_path):
    folders.convert_signs(repositories.hand_signs(tmp_path), tmp_path / 'out', train=2)
    assert files(tmp_path / 'out') == [
        *(f'train/{digit}/{number:05d}.jpg' for digit in '01' for number in range(2)),
        *(f'val/{digit}/00000.jpg' for digit in '01'),
    ]
    assert pixels(tmp_path / 'out/train/0/00000.jpg').shape == (64, 64, 3)


def test_cifar10_keeps_its_splits_and_is_enlarged(tmp_path):
    folders.convert_cifar10(repositories.cifar10(tmp_path), tmp_path / 'out', train=2, test=1)
    assert len(files(tmp_path / 'out')) == 6
    assert pixels(tmp_path / 'out/test/dog/00000.jpg').shape == (64, 64, 3)


def test_boxes_include_their_last_pixel_and_small_ones_are_dropped(tmp_path):
    repository = repositories.tiny_imagenet(tmp_path)
    detection.convert_boxes(repository, tmp_path / 'out', classes=range(1, 3), train=range(3), val=range(3, 4))
    coco = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert [category['name'] for category in coco['categories']] == ['n02', 'n03']
    assert len(coco['images']) == 4
    assert sorted(annotation['bbox'] for annotation in coco['annotations']) == [
        [0, 0, 64, 64],
        [0, 0, 64, 64],
        [5, 6, 20, 30],
        [5, 6, 20, 30],
    ]
    assert sorted(annotation['category_id'] for annotation in coco['annotations']) == [1, 1, 2, 2]


def test_a_cell_belongs_to_the_quarter_that_holds_more_than_half_of_it(tmp_path):
    detection.convert_cells(repositories.blood_cells(tmp_path), tmp_path / 'out', train=1)
    coco = json.loads((tmp_path / 'out/annotations/instances_train.json').read_text())
    assert [(image['width'], image['height']) for image in coco['images']] == [(64, 48)] * 2
    assert [annotation['category_id'] for annotation in coco['annotations']] == [2, 1]
    white, red = (annotation['bbox'] for annotation in coco['annotations'])
    assert white == pytest.approx([4, 8, 20, 20])
    assert red == pytest.approx([0, 12, 16, 20])


def test_streets_are_six_squares_with_the_unlabeled_class_ignored(tmp_path):
    maps.convert_streets(repositories.camvid(tmp_path), tmp_path / 'out')
    assert len(files(tmp_path / 'out')) == 24
    assert set(np.unique(pixels(tmp_path / 'out/ann_dir/train/a_0.png'))) == {3}
    assert set(np.unique(pixels(tmp_path / 'out/ann_dir/val/a_2.png'))) == {3, 255}


def test_clothing_groups_the_labels_of_a_square_below_the_top(tmp_path):
    maps.convert_clothing(repositories.clothing(tmp_path), tmp_path / 'out', train=1)
    labels = pixels(tmp_path / 'out/SegmentationClass/0001.png')
    upper, extras = maps.CLOTHING_CLASSES.index('upper'), maps.CLOTHING_CLASSES.index('extras')
    assert labels.shape == (64, 64)
    assert set(np.unique(labels)) == {upper, extras}
    assert (labels == upper).mean() == pytest.approx(0.84, abs=0.02)  # rows 8 to 49 of 50
    assert (tmp_path / 'out/ImageSets/Segmentation/val.txt').read_text() == '0002\n'


def test_a_room_has_depth_in_millimeters_and_zero_where_it_is_unknown(tmp_path):
    maps.convert_rooms(repositories.room(tmp_path), tmp_path / 'out', train=range(1), test=range(1, 2))
    depth = pixels(tmp_path / 'out/annotations/test/000001.png')
    assert depth.dtype == np.uint16
    assert set(np.unique(depth)) == {0, 2000}


@pytest.mark.parametrize(
    ('repository', 'damaged', 'convert'),
    [
        ('tiny_imagenet', 'tiny-imagenet-200/train/n01/images/n01_0.JPEG', partial(folders.convert_objects, classes=1)),
        ('hand_signs', 'Dataset/0/IMG_0.JPG', partial(folders.convert_signs, train=2)),
        ('cifar10', 'test/dog/0000.jpg', partial(folders.convert_cifar10, train=1, test=1)),
        (
            'tiny_imagenet',
            'tiny-imagenet-200/train/n01/n01_boxes.txt',
            partial(detection.convert_boxes, classes=range(3)),
        ),
        ('blood_cells', 'BCCD/Annotations/BloodImage_00001.xml', partial(detection.convert_cells, train=1)),
        ('camvid', 'CamVid/trainannot/a.png', maps.convert_streets),
        ('clothing', 'annotations/pixel-level/0001.mat', partial(maps.convert_clothing, train=1)),
        ('clothing', 'label_list.mat', partial(maps.convert_clothing, train=1)),
        ('room', 'data/frame-000000.depth.png', partial(maps.convert_rooms, train=range(1), test=range(1))),
    ],
)
def test_a_damaged_file_is_named(repository, damaged, convert, tmp_path):
    clone = getattr(repositories, repository)(tmp_path)
    (clone / damaged).write_bytes(b'no data of this kind')
    with pytest.raises(ConfigError, match=Path(damaged).name):
        convert(clone, tmp_path / 'out')


@pytest.mark.parametrize(
    ('repository', 'missing', 'convert'),
    [
        ('tiny_imagenet', 'tiny-imagenet-200/train/n01/images/n01_0.JPEG', partial(folders.convert_objects, classes=1)),
        ('blood_cells', 'BCCD/Annotations/BloodImage_00001.xml', partial(detection.convert_cells, train=1)),
        ('camvid', 'CamVid/valannot/a.png', maps.convert_streets),
        ('clothing', 'photos/0001.jpg', partial(maps.convert_clothing, train=1)),
    ],
)
def test_a_missing_file_is_named(repository, missing, convert, tmp_path):
    clone = getattr(repositories, repository)(tmp_path)
    (clone / missing).unlink()
    with pytest.raises(ConfigError, match=f'{Path(missing).name}.*missing'):
        convert(clone, tmp_path / 'out')


def test_too_few_files_are_counted(tmp_path):
    clone = repositories.hand_signs(tmp_path)
    with pytest.raises(ConfigError, match=r'Dataset/0.*3 files.*at least 161'):
        folders.convert_signs(clone, tmp_path / 'out')
