"""VOC's lists name the files of the folder that holds them."""

import re

import pytest

from tests.layouts.folders import found, pictures, read, text, voc
from xlearner_mm.errors import SourceError


def write(root, **lists):
    """Write four images with boxes, and lists of their names by part."""
    for name in pictures(root / 'JPEGImages', *(f'{i}.jpg' for i in range(4))):
        voc(root / 'Annotations' / name.replace('.jpg', '.xml'), name)
    for part, names in lists.items():
        text(root / f'ImageSets/Main/{part}.txt', *names)


def files(layout, part='train'):
    """Return year and stem of a part's images."""
    return sorted(re.sub(r'.*(VOC\d+)/JPEGImages/(\d)\.jpg', r'\1/\2', i['img_path']) for i in read(layout, part))


def test_years_with_the_same_names_are_kept_apart(tmp_path):
    write(tmp_path / 'a/VOC2007', trainval='01', test='23')
    write(tmp_path / 'a/VOC2012', train='12', val='03', trainval='0123')
    layout = found('det', tmp_path / 'a', tmp_path)
    assert files(layout) == ['VOC2007/0', 'VOC2007/1', 'VOC2012/1', 'VOC2012/2']
    assert files(layout, 'val') == ['VOC2012/0', 'VOC2012/3']


def test_lists_of_a_folder_without_labels_name_those_of_anywhere(tmp_path):
    write(tmp_path / 'a/VOC2007')
    for part, names in dict(train='01', val='23').items():
        text(tmp_path / f'a/lists/ImageSets/Main/{part}.txt', *names)
    assert files(found('det', tmp_path / 'a', tmp_path), 'val') == ['VOC2007/2', 'VOC2007/3']


def test_a_listed_name_of_two_files_is_refused(tmp_path):
    for year in ('VOC2007', 'VOC2012'):
        write(tmp_path / 'a' / year)
    text(tmp_path / 'a/ImageSets/Main/train.txt', *'012')
    with pytest.raises(SourceError, match=r"lists '0'.*VOC2007/Annotations/0\.xml and VOC2012/Ann.*0\.xml.*rename"):
        found('det', tmp_path / 'a', tmp_path)
