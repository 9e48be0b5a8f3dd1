"""The call itself: other tasks' folders, the printed table, and images in both parts."""

import shutil

import pytest

from tests.fixtures.pictures import write_picture
from tests.layouts.folders import coco, found, mask, noted, pictures, text, voc
from xlearner_mm.errors import BadImageError, ConfigError, SourceError
from xlearner_mm.layouts import describe
from xlearner_mm.layouts.layout import shown

NAMES = [f'{i}.jpg' for i in range(6)]


def class_folders(root):
    pictures(root, *(f'{part}/{cls}/{part}{cls}{i}.jpg' for part in ('train', 'val') for cls in 'ab' for i in range(3)))


def coco_folder(root):
    for part in ('train', 'val'):
        coco(root / f'annotations/{part}.json', pictures(root / part, *(f'{part}{name}' for name in NAMES)))


def voc_folder(root):
    for name in pictures(root / 'images', *NAMES):
        voc(root / 'labels' / name.replace('.jpg', '.xml'), name)


def yolo_folder(root):
    for name in pictures(root / 'train/images', *NAMES):
        text(root / 'train/labels' / name.replace('.jpg', '.txt'), '0 0.5 0.5 0.2 0.2')
    text(root / 'data.yaml', 'names: [cat]')


def masks_folder(root):
    for name in pictures(root / 'train/images', *NAMES):
        mask(root / 'train/masks' / name.replace('.jpg', '.png'), 0, 1)
    text(root / 'classes.txt', 'road', 'car')


def yolo_folder_of_images(root):
    for part in ('train', 'val'):
        for name in pictures(root / 'images' / part, *NAMES):
            text(root / 'labels' / part / name.replace('.jpg', '.txt'), '0 0.5 0.5 0.2 0.2')


def masks_folder_of_images(root):
    for part in ('train', 'val'):
        for name in pictures(root / 'images' / part, *NAMES):
            mask(root / 'masks' / part / name.replace('.jpg', '.png'), 0, 1)


FOLDERS = {
    'class folders': ('cls', class_folders),
    'COCO': ('det', coco_folder),
    'VOC': ('det', voc_folder),
    'YOLO': ('det', yolo_folder),
    'images and masks': ('seg', masks_folder),
}


@pytest.mark.parametrize('kind', FOLDERS)
@pytest.mark.parametrize('task', ['cls', 'det', 'seg'])
def test_a_folder_is_recognized_for_its_task_and_named_for_others(tmp_path, kind, task):
    own, write = FOLDERS[kind]
    write(tmp_path / 'a')
    if task == own:
        layout = found(task, tmp_path / 'a', tmp_path)
        assert (layout.task, layout.kind, layout.folder) == (own, kind, tmp_path / 'a')
        return
    with pytest.raises(SourceError, match=rf"'mine'.*/a .*--{task}.*looks like {kind}.*--{own} mine="):
        found(task, tmp_path / 'a', tmp_path)


@pytest.mark.parametrize(
    ('write', 'kind', 'task'),
    [(yolo_folder_of_images, 'YOLO', 'det'), (masks_folder_of_images, 'images and masks', 'seg')],
)
def test_parts_below_images_are_no_classes(tmp_path, write, kind, task):
    write(tmp_path / 'a')
    with pytest.raises(SourceError, match=rf"'mine'.*--cls.*looks like {kind}.*--{task} mine="):
        found('cls', tmp_path / 'a', tmp_path)


def test_images_in_parts_with_labels_in_one_folder_do_not_look_like_class_folders(tmp_path):
    for part in ('train', 'val'):
        for name in pictures(tmp_path / 'a/images' / part, *(f'{part}{i}.jpg' for i in range(3))):
            text(tmp_path / 'a/labels' / name.replace('.jpg', '.txt'), '0 0.5 0.5 0.2 0.2')
    with pytest.raises(SourceError, match=r"'mine'.*--det.*docs/folders\.md.*images/, labels/"):
        found('det', tmp_path / 'a', tmp_path)


def test_images_without_any_labels_are_refused_with_what_is_there(tmp_path):
    pictures(tmp_path / 'a', 'images/1.jpg', 'notes/2.jpg')
    with pytest.raises(SourceError, match=r"'mine'.*--seg.*images/, notes/"):
        found('seg', tmp_path / 'a', tmp_path)


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'pose'.*cls.*det.*seg"):
        found('pose', tmp_path, tmp_path)


def test_an_image_that_cannot_be_read_is_refused_by_name(tmp_path):
    class_folders(tmp_path / 'a')
    path = tmp_path / 'a/train/a/traina1.jpg'
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(BadImageError, match=r"'mine'.*traina1\.jpg cannot be read.*remove"):
        found('cls', tmp_path / 'a', tmp_path)


@pytest.mark.parametrize('part', ['train', 'val'])
def test_a_link_to_nothing_is_refused_by_name(tmp_path, part):
    class_folders(tmp_path / 'a')
    (tmp_path / 'a' / part / 'b/lost.jpg').symlink_to(tmp_path / 'gone.jpg')
    with pytest.raises(BadImageError, match=r"'mine'.*lost\.jpg is a link to .*gone\.jpg"):
        found('cls', tmp_path / 'a', tmp_path)


def test_an_image_in_both_parts_is_said(tmp_path):
    class_folders(tmp_path / 'a')
    shutil.copy(tmp_path / 'a/train/b/trainb2.jpg', tmp_path / 'a/val/b/other.jpg')
    layout = found('cls', tmp_path / 'a', tmp_path)
    assert noted(layout, '1 of 7', 'val/b/other.jpg = train/b/trainb2.jpg')


def test_the_table_says_what_was_understood(tmp_path):
    class_folders(tmp_path / 'birds')
    yolo_folder(tmp_path / 'traffic')
    write_picture(tmp_path / 'birds/train/a/large.jpg', (200, 300))
    (tmp_path / 'birds').rename(tmp_path / 'my [birds]')
    layouts = [
        found('cls', tmp_path / 'my [birds]', tmp_path, 'birds'),
        found('det', tmp_path / 'traffic', tmp_path, 'traffic'),
    ]
    page = describe(layouts)
    for said in (
        'class folders',
        '2: a, b',
        '96x72 to',
        '300x200',
        'YOLO',
        '(split)',
        '1.0 an image',
        "'traffic': it has",
    ):
        assert said in page, page
    assert layouts[0].sizes.short == 72
    assert layouts[0].sizes.largest == (300, 200)


def test_paths_are_shown_as_a_user_writes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(shown(tmp_path / 'data' / 'birds')) == 'data/birds'
    assert shown(tmp_path.parent / 'birds') == tmp_path.parent / 'birds'
