"""Settings as code that reads back as the settings."""

import pytest

from xlearner_mm.config.text import SPREAD, Choice, Name, code, comment

VALUES = [
    1e-5,
    'it\'s "quoted"',
    (3,),
    (),
    {},
    {'a': {'b': [1, 2, (3, None)]}, 'c': True},
    {'class': 1, '0 x': {'in': [{'type': 'A' * 60}, {'type': 'B' * 60}]}},
    ['a' * 50, 'b' * 50, 'c' * 50],
    tuple(range(200)),
    tuple(f'class {number}, with a comma' for number in range(40)),
    {'nested': {'deeper': {'deepest': [float(number) for number in range(60)]}}},
]


@pytest.mark.parametrize('value', VALUES, ids=lambda value: str(value)[:30])
def test_code_reads_back_as_the_value_in_lines_of_limited_width(value):
    text = code(value)
    assert eval(text) == value
    assert max(map(len, text.splitlines())) <= 120


def test_names_are_written_as_they_are():
    text = code({'scale': Name('(size, size)'), SPREAD: Name('rest')})
    assert text == 'dict(scale=(size, size), **rest)'


def test_a_choice_has_its_reason_above():
    text = Choice('batch_size', 32, 'words ' * 40).text()
    *reason, assigned = text.splitlines()
    assert len(reason) > 1
    assert all(line.startswith('# ') for line in reason)
    assert assigned == 'batch_size = 32'
    assert comment('as asked for') == '# As asked for'
