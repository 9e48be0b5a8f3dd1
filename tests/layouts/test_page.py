"""The trees of the page of folders are recognized as what their titles say."""

import itertools
import os

import pytest

from tests.docs.pages import blocks
from tests.fixtures.pictures import write_picture
from tests.layouts.folders import coco, found, mask, read, text, voc
from xlearner_mm.layouts.folder import is_image, part_of_name, place

TREES = [block for block in blocks('text', 'folders.md') if block.title]


def write(root, tree):
    """Write the files of a tree, each as its name says, with labels of two classes in turn."""
    files = tree.split()
    images = [f for f in files if is_image(f) and place(os.path.dirname(f)).role != 'label' and '_mask' not in f]
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    for file in files:
        part = place(os.path.dirname(file)).part or part_of_name(file)
        of_part = [i for i in images if part in (None, place(os.path.dirname(i)).part)]
        listed = [i for i in range(len(images)) if (part == 'train') == (i < 2)]
        if file in images:
            write_picture(root / file)
        elif is_image(file):
            mask(root / file, 0, 1)
        elif file.endswith('.json'):
            coco(root / file, [os.path.basename(image) for image in of_part])
        elif file.endswith('.xml'):
            voc(root / file, f'{stems}.jpg')
        elif file.endswith('.yaml'):
            text(root / file, 'names: [cat, dog]')
        elif file.endswith('_classes.csv'):
            text(root / file, 'Pixel Value, Class', '0, cat', '1, dog')
        elif file == 'classes.txt':
            text(root / file, 'cat', 'dog')
        elif file.endswith('.csv'):
            text(root / file, 'file,label', *(f'{image},{i % 2}' for i, image in enumerate(images)))
        elif 'ImageSets' in file:
            text(root / file, *(stems[i] for i in listed))
        elif '/' in file:
            text(root / file, '0 0.5 0.5 0.2 0.2')
        else:
            text(root / file, *(f'{images[i]} {i % 2}' for i in listed))


@pytest.mark.parametrize('block', TREES, ids=itertools.count())
def test_a_tree_is_what_its_title_says(block, tmp_path):
    task, kind = block.title.split(': ')
    write(tmp_path / 'a', block.text)
    layout = found(task, tmp_path / 'a', tmp_path)
    assert layout.kind == kind
    assert read(layout)
    assert read(layout, 'val')


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'data/traffic', 'boxes.json 1.jpg 2.jpg 3.jpg')
    (example,) = blocks('python', 'folders.md')
    exec(example.text, {})
    assert 'COCO in data/traffic' in capsys.readouterr().out
