"""Classes in validation alone are left out, or refused as another spelling; spellings of trained ones are said."""

import pytest

from tests.layouts.folders import BOX, coco, found, noted, pictures, text
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


def test_trained_classes_of_another_spelling_stay_apart_and_are_said(tmp_path):
    boxed = pictures(tmp_path / 'traffic', *(f'{i}.jpg' for i in range(20)))
    coco(tmp_path / 'traffic/all.json', boxed, ('polar bear', 'Polar_Bear'))
    listed = pictures(tmp_path / 'listed', *(f'{i}.jpg' for i in range(20)))
    text(tmp_path / 'listed/all.csv', 'file,label', *(f'{name},{"aAb"[i % 3]}' for i, name in enumerate(listed)))
    for cls in ('a', 'A', 'b'):
        pictures(tmp_path / 'folders', *(f'{cls}/{cls}{i}.jpg' for i in range(5)))
    for task, folder, classes in (
        ('det', 'traffic', ('polar bear', 'Polar_Bear')),
        ('cls', 'listed', ('A', 'a', 'b')),
        ('cls', 'folders', ('A', 'a', 'b')),
    ):
        layout = found(task, tmp_path / folder, tmp_path)
        assert layout.classes == classes
        assert noted(layout, 'differ by case', f'1 ({" and ".join(classes[:2])})')


@pytest.mark.parametrize(('one', 'other'), [('1.5', '15'), ('HER2+', 'HER2-'), ('-', '_'), ('कि', 'का'), ('1 2', '12')])
def test_names_that_mean_something_else_are_no_spellings(one, other):
    assert spelling(one) != spelling(other)
