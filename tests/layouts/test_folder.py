"""Meaning of the names of folders and files."""

import unicodedata

import pytest

from tests.layouts.folders import pictures, text
from xlearner_mm.errors import SourceError
from xlearner_mm.layouts.folder import Folder, key_of, part_of_name, place


@pytest.mark.parametrize(
    ('folder', 'part', 'role'),
    [
        ('train', 'train', None),
        ('images/val2017', 'val', 'image'),
        ('Valid/Labels', 'val', 'label'),
        ('JPEGImages', None, 'image'),
        ('trainannot', 'train', 'label'),
        ('test_images', 'test', 'image'),
        ('masks_training', 'train', 'label'),
        ('trainings', None, None),
        ('SegmentationObject', None, None),
    ],
)
def test_part_and_role_are_words_of_a_folder(folder, part, role):
    assert (place(folder).part, place(folder).role) == (part, role)


@pytest.mark.parametrize(
    ('image', 'label'),
    [
        ('images/train/a.jpg', 'labels/train/a.txt'),
        ('train/images/a.jpg', 'train/labels/a.txt'),
        ('VOC2007/JPEGImages/a.jpg', 'VOC2007/Annotations/a.xml'),
        ('valid/a.jpg', 'valid/a.xml'),
        ('val/city/a.jpg', 'valannot/city/a.png'),
    ],
)
def test_an_image_and_its_label_share_a_key(image, label):
    assert key_of(image) == key_of(label)


def test_two_spellings_of_an_umlaut_share_a_key():
    assert key_of(unicodedata.normalize('NFD', 'images/Möwe.jpg')) == key_of('labels/Möwe.txt')


def test_parts_and_folders_keep_keys_apart():
    assert len({key_of(name) for name in ('train/a.jpg', 'val/a.jpg', 'train/b/a.jpg', 'c/a.jpg')}) == 4


@pytest.mark.parametrize(
    ('name', 'part'),
    [('instances_val2017.json', 'val'), ('my-test.csv', 'test'), ('training.txt', 'train'), ('evaluation.csv', None)],
)
def test_a_file_name_may_state_the_part(name, part):
    assert part_of_name(name) == part


def opened(path, tmp_path):
    return Folder.open('mine', path, tmp_path / 'index')


def test_an_image_is_found_by_any_end_of_its_path(tmp_path):
    pictures(tmp_path / 'a', 'x/1.jpg', 'y/1.jpg', 'y/2.jpg')
    folder = opened(tmp_path / 'a', tmp_path)
    assert folder.resolve('/home/me/x/1.jpg') == 'x/1.jpg'
    assert folder.resolve('y\\1') == 'y/1.jpg'
    assert folder.resolve('2.jpg') == 'y/2.jpg'
    assert folder.resolve('3.jpg') is None
    with pytest.raises(SourceError, match=r"'1\.jpg' \(x/1\.jpg, y/1\.jpg\)"):
        folder.resolve('1.jpg')


def test_an_image_is_found_in_another_case_if_one_has_that_name(tmp_path):
    pictures(tmp_path / 'a', '1.JPG', 'B.jpg', 'b.JPG', 'x/C.jpg', 'y/c.jpg')
    folder = opened(tmp_path / 'a', tmp_path)
    assert folder.resolve('x/1.jpg') == '1.JPG'
    assert folder.resolve('b.JPG') == 'b.JPG'
    assert folder.resolve('x/C.JPG') == 'x/C.jpg'
    assert folder.candidates('CAT') == []
    with pytest.raises(SourceError, match=r"'b\.jpg' \(B\.jpg, b\.JPG\)"):
        folder.resolve('b.jpg')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'cp1252'])
def test_texts_are_read_as_windows_writes_them(tmp_path, encoding):
    pictures(tmp_path / 'a', '1.jpg')
    text(tmp_path / 'a/names.txt', *(['\ufeffMöwe'] if encoding == 'utf-16-be' else ['Möwe']), encoding=encoding)
    assert opened(tmp_path / 'a', tmp_path).read_text('names.txt').splitlines() == ['Möwe']


@pytest.mark.parametrize(('link', 'to'), [('a', 'm/train'), ('val', 'm/train'), ('m/a', 'm/train'), ('m/z', 'm/train')])
def test_of_a_folder_and_a_link_to_it_the_folder_is_read(tmp_path, link, to):
    pictures(tmp_path / 'a', 'm/train/1.jpg', '0/2.jpg')
    (tmp_path / 'a' / link).symlink_to(tmp_path / 'a' / to)
    folder = opened(tmp_path / 'a', tmp_path)
    assert folder.images == ['0/2.jpg', 'm/train/1.jpg']
    assert folder.notes == [f'links to folders that are read already, left out: 1 ({link}/ is {to}/)']


def test_a_link_to_a_folder_elsewhere_is_read(tmp_path):
    pictures(tmp_path / 'store', 'x/1.jpg')
    pictures(tmp_path / 'a', '0.jpg')
    for link in ('train', 'val'):
        (tmp_path / 'a' / link).symlink_to(tmp_path / 'store')
    folder = opened(tmp_path / 'a', tmp_path)
    assert folder.images == ['0.jpg', 'train/x/1.jpg']
    assert 'val/ is train/' in folder.notes[0]


def test_hidden_files_and_links_to_a_folder_above_are_left_out(tmp_path):
    pictures(tmp_path / 'a', 'x/1.jpg', 'x/.hidden.jpg', '.cache/2.jpg', '__MACOSX/3.jpg')
    (tmp_path / 'a/x/loop').symlink_to(tmp_path / 'a')
    assert opened(tmp_path / 'a', tmp_path).images == ['x/1.jpg']


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'does not exist'), ([], 'is empty'), (['notes.docx', 'a.mp4'], r'holds no image.*2 other.*\.docx, \.mp4')],
)
def test_a_folder_without_images_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'a').mkdir()
        for name in content:
            text(tmp_path / 'a' / name, 'x')
    with pytest.raises(SourceError, match=rf"'mine'.*/a {message}"):
        opened(tmp_path / 'a', tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    text(tmp_path / 'data.yaml', 'names: [cat]')
    with pytest.raises(SourceError, match=r'data\.yaml is a file.*folder'):
        opened(tmp_path / 'data.yaml', tmp_path)


def test_images_that_differ_in_their_suffix_alone_share_no_label(tmp_path):
    pictures(tmp_path / 'a', '1.jpg', '1.png')
    with pytest.raises(SourceError, match=r'1\.jpg and 1\.png.*rename'):
        _ = opened(tmp_path / 'a', tmp_path).images_by_key
