"""Files of class names."""

import json

import pytest

from tests.layouts.folders import coco, pictures, text
from xlearner_mm.errors import SourceError
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.names import find_class_names


def names(root, tmp_path):
    pictures(root, '1.jpg')
    found = find_class_names(Folder.open('mine', root, tmp_path))
    return found and dict(found.names)


@pytest.mark.parametrize(
    ('file', 'content'),
    [
        ('classes.txt', 'sky\nhigh road\n'),
        ('sub/labels.txt', '0 sky\n1 high road'),
        ('obj.names', '0: sky\n1: high road\n\n'),
        ('_classes.csv', 'Pixel Value, Class\n0, sky\n1, high road\n'),
        ('classes.json', json.dumps(['sky', 'high road'])),
        ('label_map.json', json.dumps({'sky': 0, 'high road': 1})),
        ('id2label.json', json.dumps({'1': 'high road', '0': 'sky'})),
        ('dataset_meta.json', json.dumps({'label_map': {'0': 'sky', '1': 'high road'}})),
    ],
)
def test_usual_files_are_read(tmp_path, file, content):
    text(tmp_path / 'a' / file, content)
    assert names(tmp_path / 'a', tmp_path) == {0: 'sky', 1: 'high road'}


def test_numbers_may_begin_at_one(tmp_path):
    text(tmp_path / 'a/classes.txt', '1 sky', '2 road')
    assert names(tmp_path / 'a', tmp_path) == {1: 'sky', 2: 'road'}


def test_other_content_of_such_names_is_left_alone(tmp_path):
    coco(tmp_path / 'a/labels.json', ['1.jpg'])
    text(tmp_path / 'a/labels.txt', '1.jpg 0')
    assert names(tmp_path / 'a', tmp_path) is None


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('classes.txt', 'sky\nroad\nsky', "two classes 'sky'"),
        ('classes.txt', '\n', 'no class names'),
        ('classes.json', '{"sky": [1, 2]}', 'no class names'),
        ('classes.json', '{sky', 'not JSON'),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path, file, content, message):
    text(tmp_path / 'a' / file, content)
    with pytest.raises(SourceError, match=rf"'mine'.*{file} .*{message}"):
        names(tmp_path / 'a', tmp_path)
