"""Config errors are one line in every tool, with file and line."""

from pathlib import Path

import pytest

from xlearner_mm.analysis.check_sources import check_config
from xlearner_mm.analysis.dry_run import dry_run
from xlearner_mm.config.options import read_config
from xlearner_mm.engine.launch import launch
from xlearner_mm.errors import ConfigError
from xlearner_mm.transfer.protocol import Protocol
from xlearner_mm.transfer.transfer_set import transfer_to_set

BROKEN = {
    'a bracket that is never closed': ('x = 1\ny = dict(a=1\n', r'broken\.py:2: SyntaxError: .*never closed'),
    'an unknown name': ('x = 1\n\ny = lr\n', r"broken\.py:3: NameError: name 'lr' is not defined"),
    'a base that is not there': ("_base_ = './nowhere.py'\n", r'broken\.py: .*nowhere\.py'),
    'an unknown name of a base': ("_base_ = './base.py'\ny = _base_.unheard\n", r'broken\.py.*unheard'),
    'a dict where the base has a number': ("_base_ = './base.py'\nx = dict(a=1)\n", r'broken\.py: .*_delete_'),
    'an indented line': ('x = 1\n  y = 2\n', r'broken\.py:2: IndentationError: unexpected indent'),
    'new style, an unknown name': ('from mmengine.hooks import Hook\nx = lr\n', r"broken\.py:2: NameError: name 'lr'"),
    'an error of a base': ("_base_ = './faulty.py'\n", r'faulty\.py:2: ZeroDivisionError'),
    'a bracket of a base': ("_base_ = './unclosed.py'\n", r'unclosed\.py:1: SyntaxError'),
    'no Python at all': ('\x00', r'broken\.py'),
}


def write(folder, text):
    (folder / 'base.py').write_text('x = 3\n')
    (folder / 'faulty.py').write_text('x = 1\ny = x / 0\n')
    (folder / 'unclosed.py').write_text('x = (1\n')
    (folder / 'broken.py').write_text(text)
    return str(folder / 'broken.py')


@pytest.mark.parametrize('fault', BROKEN)
def test_the_file_and_the_line_are_named(tmp_path, fault):
    text, message = BROKEN[fault]
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert '\n' not in str(caught.value)


DOORS = {
    'train': lambda path: launch('train', path),
    'test': lambda path: launch('test', path, checkpoint='none.pth'),
    'dry run': dry_run,
    'check_sources': check_config,
    'transfer_set': lambda path: transfer_to_set(Path(path), Path(path).parent / 'work', None, Protocol()),
}


@pytest.mark.parametrize('door', DOORS)
def test_every_tool_ends_in_one_line(tmp_path, capfd, door):
    assert DOORS[door](write(tmp_path, BROKEN['an unknown name'][0])) == 1
    err = capfd.readouterr().err
    assert 'Traceback' not in err
    (line,) = [line for line in err.splitlines() if line.startswith('error: ')]
    assert "broken.py:3: NameError: name 'lr'" in line
