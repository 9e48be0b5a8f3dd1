import re
from pathlib import Path

import pytest

from xlearner_mm.config.options import load_config, parse_option
from xlearner_mm.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / 'configs' / 'mini'


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('1e-3', 1e-3),
        ('false', False),
        ('None', None),
        ('[a,b]', ['a', 'b']),
        ('(0,1)', (0, 1)),
        ("{'coco': 4}", {'coco': 4}),
        ("dict(type='Visualizer', lr=1e-3)", dict(type='Visualizer', lr=1e-3)),
        ("[dict(type='A'), {'b': (-1, [dict()])}]", [dict(type='A'), {'b': (-1, [{}])}]),
        ('work_dirs/a=b', 'work_dirs/a=b'),
        ('step_{}.pth', 'step_{}.pth'),
    ],
)
def test_values_are_read_as_openmmlab_reads_them_and_dicts_as_well(text, value):
    assert parse_option(f'a.b={text}') == ('a.b', value)


@pytest.mark.parametrize(
    'option',
    [
        'foo',
        '=3',
        "a={'b': }",
        'a=[dict(type=EMAHook)]',
        "a=dict(b=open('x'))",
        'a=dict(**b)',
        "a={**{'b': 1}}",
        'a=dict(1)',
    ],
)
def test_an_option_that_cannot_be_read_is_refused_by_name(option):
    with pytest.raises(ConfigError, match='--cfg-options: .*' + re.escape(option)):
        parse_option(option)


def load(config, *options):
    return load_config(str(CONFIGS / f'{config}.py'), None, options, 'none')


def test_an_unknown_source_is_refused():
    with pytest.raises(ConfigError, match=r"unknown source 'coco'; the sources are \['digits'"):
        load('xlearner_seg_r18_expansion', 'sources.coco.batch_size=8')


def test_work_dirs_are_named_by_their_config():
    assert load('hard_sharing_seg_r18').work_dir == 'work_dirs/hard_sharing_seg_r18'


def test_a_base_of_the_installed_package_equals_the_file(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'xlearner_mm::mini/xlearner_r18_expansion.py'\n")
    mine = load_config(str(tmp_path / 'mine.py'), 'work', [], 'none')
    itself = load_config(str(CONFIGS / 'xlearner_r18_expansion.py'), 'work', [], 'none')
    assert mine.to_dict() == itself.to_dict()
