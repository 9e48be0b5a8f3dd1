"""Label maps that tell no class from another are seen before anything is trained on them."""

import numpy as np
import pytest
from PIL import Image

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.label_maps import values_of_maps

from .small_sources import COUNT, label_maps


def maps_of(root, *values, classes='ab', **settings):
    """Six maps; of each of ``values``, some pixels in every one."""
    source = label_maps(root)
    for i in range(COUNT):
        Image.fromarray(np.resize(np.array(values, np.uint8), (72, 96))).save(root / 'maps' / f'{i}.png')
    source['dataset'].update(metainfo=dict(classes=list(classes)), **settings)
    return MultiSourceDataset({'masks': source}).datasets['masks']


@pytest.mark.parametrize(
    ('values', 'classes', 'held'),
    [
        ((0, 255), 'ab', "hold only class 'a' beside 255, which is ignored and is in 6 of them, and none holds b"),
        ((255,), 'ab', 'hold no class beside 255'),
        ((255,), 'a', 'hold no class beside 255'),
        ((1,), 'abc', "hold only class 'b', and none holds a, c"),
    ],
)
def test_maps_of_one_class_or_none_are_a_problem(tmp_path, values, classes, held):
    problem = values_of_maps(maps_of(tmp_path, *values, classes=classes), 255).problem()
    assert f'all 6 label maps {held}' in problem
    assert '/maps: ' in problem


def test_values_are_those_that_the_pipeline_makes_of_them(tmp_path):
    found = values_of_maps(maps_of(tmp_path, 0, 255, reduce_zero_label=True), 255)
    assert found.counts == {255: COUNT}
    assert 'hold no class' in found.problem()


@pytest.mark.parametrize(('values', 'classes'), [((0, 1, 255), 'ab'), ((0, 1), 'abc'), ((0, 255), 'a')])
def test_maps_that_tell_classes_apart_are_none(tmp_path, values, classes):
    assert values_of_maps(maps_of(tmp_path, *values, classes=classes), 255).problem() is None


def test_classes_that_no_opened_map_holds_are_told_with_their_number(tmp_path):
    dataset = maps_of(tmp_path, 0, 2, classes='abcd')
    assert 'all 6 label maps do not hold 2 of the 4 classes: b, d' in values_of_maps(dataset, 255).note()
    assert 'the 2 label maps that were opened, of 6, do not' in values_of_maps(dataset, 255, count=2).note()
    assert values_of_maps(maps_of(tmp_path, 0, 1), 255).note() is None


def test_background_alone_in_the_opened_maps_may_be_rare_objects(tmp_path):
    found = values_of_maps(maps_of(tmp_path, 0), 255, count=2)
    assert found.problem() is None
    assert 'do not hold 1 of the 2 classes: b' in found.note()


def test_maps_that_cannot_be_read_are_left_to_the_reading(tmp_path):
    dataset = maps_of(tmp_path, 0, 1)
    (tmp_path / 'maps' / '0.png').write_bytes(b'no picture')
    assert values_of_maps(dataset, 255).opened == COUNT - 1
