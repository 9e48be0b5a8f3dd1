import numpy as np
import pytest

from xlearner_mm.errors import ConfigError
from xlearner_mm.transfer.probing.run import held_out, official

LABELS = np.repeat([0, 1, 2], [20, 5, 1])


def test_a_fifth_of_each_class_is_held_out_except_single_images():
    mask = held_out(LABELS, seed=0)
    assert np.bincount(LABELS[mask], minlength=3).tolist() == [4, 1, 0]


def test_the_draw_is_seeded():
    masks = [held_out(LABELS, seed) for seed in (0, 0, 1)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


def test_without_two_images_of_any_class_there_is_no_validation():
    with pytest.raises(ConfigError, match='2 training images of 2 classes: none is left'):
        held_out(np.array([0, 1]), seed=0)


def test_an_official_split_is_found_by_its_images():
    assert official(np.array(['a', 'b', 'c']), np.array(['c', 'z'])).tolist() == [False, False, True]


@pytest.mark.parametrize('validation', [['z'], ['a', 'b', 'c']])
def test_an_official_split_of_none_or_all_images_is_refused(validation):
    with pytest.raises(ConfigError, match=r'of 3 training images.*expected some'):
        official(np.array(['a', 'b', 'c']), np.array(validation))
