"""Classes in validation alone are left out, or refused as another spelling."""

import pytest

from tests.layouts.folders import BOX, coco, found, noted, pictures
from xlearner_mm.errors import SourceError
from xlearner_mm.layouts.spelling import spelling


def write(root, trained, validated):
    """Write boxes of a class in training alone, one in validation alone, and one in both."""
    classes = (trained, 'cat', validated)
    for part, own in (('train', trained), ('val', validated)):
        names = pictures(root, f'{part}0.jpg', f'{part}1.jpg')
        coco(root / f'{part}.json', dict(zip(names, [[(own, BOX)], [('cat', BOX)]], strict=True)), classes)
    return root


@pytest.mark.parametrize(
    ('trained', 'validated'), [('1', '10'), ('class_12', 'class_21'), ('Parus major', 'Parus minor')]
)
def test_a_class_of_a_near_name_is_left_out_and_the_near_name_said(tmp_path, trained, validated):
    layout = found('det', write(tmp_path / 'a', trained, validated), tmp_path)
    assert set(layout.classes) == {trained, 'cat'}
    assert noted(layout, f"'{validated}' is in validation alone", '1 object(s) are left out', f"their '{trained}'")


@pytest.mark.parametrize(
    ('trained', 'validated'),
    [('owl', 'Owl'), ('polar bear', 'Polar_Bear'), ('T-shirt', 'tshirt'), ('St. John', 'st john')],
)
def test_another_spelling_is_refused(tmp_path, trained, validated):
    with pytest.raises(SourceError, match=rf"'mine'.*'{validated}' in validation alone.*'{trained}'\? If so, rename"):
        found('det', write(tmp_path / 'a', trained, validated), tmp_path)


@pytest.mark.parametrize(('one', 'other'), [('1.5', '15'), ('HER2+', 'HER2-'), ('-', '_'), ('कि', 'का'), ('1 2', '12')])
def test_names_that_mean_something_else_are_no_spellings(one, other):
    assert spelling(one) != spelling(other)
