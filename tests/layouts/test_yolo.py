"""Boxes of YOLO: the parts of a folder, names of classes and lines of its files."""

import json

import pytest

from tests.datasets.small_sources import turned
from tests.fixtures.pictures import HEIGHT, WIDTH
from tests.layouts.folders import YOLO, boxes, found, noted, pictures, text
from xlearner_mm.errors import SourceError

NAMES = [f'{i}.jpg' for i in range(10)]


def write(root, names=NAMES, images='images', files='labels', rows=((0, *YOLO),)):
    for name in names:
        pictures(root / images, name)
        text(root / files / name.replace('.jpg', '.txt'), *(' '.join(map(str, row)) for row in rows))


@pytest.mark.parametrize('form', ['images/{}', '{}/images', '{}', 'data/{}'])
@pytest.mark.parametrize('settings', [dict(names=['cat', 'dog'], nc=2), dict(names={0: 'cat', 1: 'dog'}), None])
def test_both_orders_and_both_forms_of_names_are_read(tmp_path, form, settings):
    for part, names in (('train', NAMES[:6]), ('val', NAMES[6:])):
        images = form.format(part)
        write(tmp_path / 'a', names, images, images.replace('images', 'labels'), [(0, *YOLO), (1, *YOLO)])
    if settings:
        text(tmp_path / 'a/data.yaml', json.dumps(settings))
    else:
        text(tmp_path / 'a/classes.txt', 'cat', 'dog')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert (layout.kind, layout.classes) == ('YOLO', ('cat', 'dog'))
    assert set(boxes(layout, 'val')) == set(NAMES[6:])
    box = (0.375 * WIDTH, 0.25 * HEIGHT, 0.625 * WIDTH, 0.75 * HEIGHT)
    assert boxes(layout)['0.jpg'] == [('cat', box, 0), ('dog', box, 0)]


def test_folders_and_lists_that_the_yaml_states_are_the_parts(tmp_path):
    write(tmp_path / 'a', NAMES[:6], 'images/set1', 'labels/set1')
    write(tmp_path / 'a', NAMES[6:], 'images/set2', 'labels/set2')
    text(tmp_path / 'a/b.txt', *(f'./images/set2/{name}' for name in NAMES[6:]))
    text(tmp_path / 'a/mine.yaml', 'path: ../datasets/a', 'train: images/set1', 'val: b.txt', 'names: [cat]')
    assert set(boxes(found('det', tmp_path / 'a', tmp_path), 'val')) == set(NAMES[6:])


def test_the_same_folder_for_both_parts_is_split(tmp_path):
    write(tmp_path / 'a', NAMES, 'images/train', 'labels/train')
    text(tmp_path / 'a/data.yaml', 'train: images/train', 'val: images/train', 'names: [cat]')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert layout.val.from_split
    assert noted(layout, 'another part, not validated on', '10 (images/train/0.jpg')


@pytest.mark.parametrize('stated', [('train: images', 'val: images/some', 'test: images/others'), ()])
def test_images_of_training_and_another_part_are_not_trained_on(tmp_path, stated):
    write(tmp_path / 'a', NAMES[:6])
    write(tmp_path / 'a', NAMES[6:8], 'images/some', 'labels/some')
    write(tmp_path / 'a', NAMES[8:], 'images/others', 'labels/others')
    text(tmp_path / 'a/data.yaml', 'names: [cat]', *stated)
    if not stated:
        text(tmp_path / 'a/trainval.txt', *(f'./images/{name}' for name in NAMES[:6]), './images/some/6.jpg')
        text(tmp_path / 'a/val.txt', './images/some/6.jpg', './images/some/7.jpg')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert (set(boxes(layout)), set(boxes(layout, 'val'))) == (set(NAMES[:6]), set(NAMES[6:8]))
    assert noted(layout, 'another part, not trained on', '4 (images/others/8.jpg' if stated else '1 (images/some/6.jpg')


@pytest.mark.parametrize('stated', [('train: train.txt', 'val: lists/val.txt', 'test: ../gone'), ()])
def test_images_in_no_list_are_left_out_and_said(tmp_path, stated):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', 'names: [cat]', *stated)
    text(tmp_path / 'a/train.txt', *(f'./images/{name}' for name in NAMES[:6]))
    text(tmp_path / 'a/trainval.txt', *(f'./images/{name}' for name in NAMES[:8]))
    text(tmp_path / 'a/lists/val.txt', *(f'./images/{name}' for name in NAMES[6:8]))
    layout = found('det', tmp_path / 'a', tmp_path)
    assert (set(boxes(layout)), set(boxes(layout, 'val'))) == (set(NAMES[:6]), set(NAMES[6:8]))
    assert noted(layout, 'in no part of', 'left out', '2 (images/8.jpg')


def test_folders_that_the_yaml_does_not_state_are_left_out_unless_they_are_called_as_another_part(tmp_path):
    for names, folder in ((NAMES[:4], 'fold1'), (NAMES[4:6], 'val'), (NAMES[6:8], 'fold3'), (NAMES[8:], 'test')):
        write(tmp_path / 'a', names, f'images/{folder}', f'labels/{folder}')
    text(tmp_path / 'a/data.yaml', 'path: images', 'train: fold1', 'val: val', 'names: [cat]')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert (set(boxes(layout)), set(boxes(layout, 'val'))) == (set(NAMES[:4]), set(NAMES[4:6]))
    assert noted(layout, 'no part of data.yaml', '2 (images/fold3/6.jpg')
    assert noted(layout, 'test part is not used')


@pytest.mark.parametrize('stated', [('train: train.txt',), ()])
def test_a_list_of_images_that_are_not_there_is_refused(tmp_path, stated):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', 'names: [cat]', *stated)
    text(tmp_path / 'a/train.txt', 'images/0.jpg', 'images/99.jpg')
    with pytest.raises(SourceError, match=r"'mine'.*/train\.txt names 1 of 2 images.*images/99\.jpg"):
        found('det', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize('stated', ['train: ../nowhere/imgs', 'val: ../nowhere/imgs', 'test: ../nowhere/imgs'])
def test_a_path_of_the_yaml_without_images_is_refused(tmp_path, stated):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', stated, 'names: [cat]')
    key = stated.split(':')[0]
    with pytest.raises(SourceError, match=rf"data\.yaml has {key}: '\.\./nowhere/imgs', but .*a/nowhere/imgs holds"):
        found('det', tmp_path / 'a', tmp_path)


def test_one_folder_is_split_and_its_classes_are_called_by_number(tmp_path):
    write(tmp_path / 'a', images='', files='', rows=[(1, *YOLO), (0, *YOLO)])
    layout = found('det', tmp_path / 'a', tmp_path)
    assert layout.classes == ('class 0', 'class 1')
    assert layout.val.from_split
    assert noted(layout, 'classes.txt')


def test_shares_are_of_the_image_as_it_is_shown(tmp_path):
    for name in NAMES:
        turned(tmp_path / 'a/images' / name, 6)
        text(tmp_path / 'a/labels' / name.replace('.jpg', '.txt'), '0 0.5 0.5 0.5 0.5')
    layout = found('det', tmp_path / 'a', tmp_path)
    x1, y1, x2, y2 = boxes(layout)['0.jpg'][0][1]
    assert (x2 - x1, y2 - y1) == (HEIGHT / 2, WIDTH / 2)
    assert (layout.sizes.smallest, layout.sizes.short) == ((HEIGHT, WIDTH), HEIGHT)


def test_polygons_become_their_boxes(tmp_path):
    write(tmp_path / 'a', rows=[(0, 0.25, 0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 1.0)])
    assert boxes(found('det', tmp_path / 'a', tmp_path))['0.jpg'][0][1] == (24, 18, 72, 72)


def test_images_without_labels_are_left_out_and_said(tmp_path):
    write(tmp_path / 'a')
    pictures(tmp_path / 'a/images', 'unlabeled.jpg', 'background.jpg')
    text(tmp_path / 'a/labels/background.txt')
    text(tmp_path / 'a/labels/gone.txt', '0 0.5 0.5 0.1 0.1')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert noted(layout, 'images', 'left out', '1 (', 'unlabeled.jpg')
    assert noted(layout, 'label files', 'left out', '1 (', 'gone.txt')
    assert 'unlabeled.jpg' not in boxes(layout, 'val') | boxes(layout)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('0 48 36 20 30', r'coordinate 48 in line 2.*width by 96'),
        ('0 0.5 0.5 -0.1 0.2', r'coordinate -0\.1 in line 2'),
        ('3 0.5 0.5 0.1 0.2', r'class 3 in line 2.*classes\.txt names 2'),
        ('cat 0.5 0.5 0.1 0.2', r"'cat 0\.5 0\.5 0\.1 0\.2' in line 2"),
        ('0 0.5 0.5 0.1 0.2 0.9', r'line 2; expected class, x, y'),
    ],
)
def test_a_wrong_line_is_refused_by_file_and_number(tmp_path, row, message):
    write(tmp_path / 'a')
    text(tmp_path / 'a/classes.txt', 'cat', 'dog')
    text(tmp_path / 'a/labels/5.txt', '0 0.5 0.5 0.1 0.1', row)
    with pytest.raises(SourceError, match=rf"'mine'.*labels/5\.txt.*{message}"):
        found('det', tmp_path / 'a', tmp_path)


def test_a_wrong_line_is_named_where_it_is_the_first_of_all(tmp_path):
    write(tmp_path / 'a')
    text(tmp_path / 'a/labels/0.txt', 'cat 0.5 0.5 0.1 0.1')
    with pytest.raises(SourceError, match=r"labels/0\.txt has 'cat 0\.5 0\.5 0\.1 0\.1' in line 1"):
        found('det', tmp_path / 'a', tmp_path)


def test_texts_of_words_beside_images_are_no_labels(tmp_path):
    write(tmp_path / 'a', rows=[('a', 'cat', 'of', 2, 'colors'), (1999,)])
    with pytest.raises(SourceError, match='does not hold COCO, VOC or YOLO labels'):
        found('det', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize('names', ['[yes, no]', '[cat, null]', '[[cat]]', '{0: cat, 1: true}', '[2020-01-01]'])
def test_names_that_are_no_text_are_refused(tmp_path, names):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', f'names: {names}')
    with pytest.raises(
        SourceError, match=r'data\.yaml has the class name (True|None|\[.*\]|datetime.*) in names.*quotes'
    ):
        found('det', tmp_path / 'a', tmp_path)


def test_numbers_are_names_and_counts_may_be_texts(tmp_path):
    write(tmp_path / 'a', rows=[(0, *YOLO), (1, *YOLO)])
    text(tmp_path / 'a/data.yaml', 'nc: "2"', 'names: [7, "8"]')
    assert found('det', tmp_path / 'a', tmp_path).classes == ('7', '8')


@pytest.mark.parametrize(('shape', 'points'), [('[2, 3]', (0.1, 0.1, 2, 0, 0, 0)), ('[2, 2]', (0.1, 0.1, 0.9, 0.9))])
def test_boxes_of_poses_are_read_without_their_keypoints(tmp_path, shape, points):
    write(tmp_path / 'a', rows=[(0, *YOLO, *points)])
    text(tmp_path / 'a/data.yaml', 'names: [cat]', f'kpt_shape: {shape}')
    layout = found('det', tmp_path / 'a', tmp_path)
    box = (0.375 * WIDTH, 0.25 * HEIGHT, 0.625 * WIDTH, 0.75 * HEIGHT)
    assert boxes(layout)['0.jpg'] == [('cat', box, 0)]
    assert noted(layout, 'kpt_shape', 'keypoints are not')


@pytest.mark.parametrize(
    ('shape', 'message'),
    [('17', r'data\.yaml has kpt_shape: 17; expected'), ('[3, 2]', r'0\.txt has 9 values in line 1; expected 11')],
)
def test_keypoints_of_another_number_are_refused(tmp_path, shape, message):
    write(tmp_path / 'a', rows=[(0, *YOLO, 0.1, 0.1, 0.9, 0.9)])
    text(tmp_path / 'a/data.yaml', 'names: [cat]', f'kpt_shape: {shape}')
    with pytest.raises(SourceError, match=message):
        found('det', tmp_path / 'a', tmp_path)


def test_lists_of_images_without_labels_are_refused(tmp_path):
    write(tmp_path / 'a')
    pictures(tmp_path / 'a/images', 'unlabeled.jpg')
    text(tmp_path / 'a/train.txt', 'images/unlabeled.jpg')
    with pytest.raises(SourceError, match=r'no image with labels in a part of train\.txt'):
        found('det', tmp_path / 'a', tmp_path)


def test_names_that_are_one_text_are_refused(tmp_path):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', 'names: cat dog')
    with pytest.raises(SourceError, match=r"data\.yaml.*'cat dog'.*list"):
        found('det', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize('stated', ['5', '{images: 1}', '[5]'])
def test_parts_that_are_no_paths_are_refused(tmp_path, stated):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', f'train: {stated}', 'names: [cat]')
    with pytest.raises(SourceError, match=r'data\.yaml has train: .*[5}\]]; expected a folder'):
        found('det', tmp_path / 'a', tmp_path)


def test_a_count_of_other_length_than_the_names_is_refused(tmp_path):
    write(tmp_path / 'a')
    text(tmp_path / 'a/data.yaml', 'nc: 3', 'names: [cat, dog]')
    with pytest.raises(SourceError, match=r'data\.yaml.*nc: 3.*2 names'):
        found('det', tmp_path / 'a', tmp_path)


def test_the_index_is_written_once_and_the_same(tmp_path):
    write(tmp_path / 'Straßen und Wege')
    first = found('det', tmp_path / 'Straßen und Wege', tmp_path)
    path = tmp_path / 'out/sources/mine/train.json'
    content, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert found('det', tmp_path / 'Straßen und Wege', tmp_path) == first
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, changed)
    assert len(boxes(first)) == 9
