"""The command line of a pretraining means what the function means."""

import inspect
import shlex

import pytest

import xlearner_mm
from tests.docs.pages import blocks, commands
from xlearner_mm.errors import SourceError
from xlearner_mm.pretraining import run as module
from xlearner_mm.pretraining.request import named_folders

PARAMETERS = inspect.signature(xlearner_mm.pretrain).parameters


@pytest.fixture
def called(monkeypatch):
    """The arguments that the function was called with."""
    calls = []
    monkeypatch.setattr(module, 'pretrain', lambda **arguments: calls.append(arguments))
    return calls


def test_options_are_the_arguments_of_the_function(run_tool, called):
    assert run_tool('pretrain.py', '--out', 'o', '--cls', 'a=x', 'y', '--cls', 'z', '--epochs', '3')[0] == 0
    (given,) = called
    assert set(given) == set(PARAMETERS)
    assert given['cls'] == ['a=x', 'y', 'z']
    unasked = {name for name in given if name not in ('cls', 'det', 'seg', 'out', 'epochs')}
    assert all(given[name] == PARAMETERS[name].default for name in unasked)


def test_the_command_of_the_page_means_what_its_python_does(run_tool, called, monkeypatch):
    monkeypatch.setattr(xlearner_mm, 'pretrain', module.pretrain, raising=False)
    (shown,) = blocks('python', 'pretrain.md')
    exec(shown.text, {})
    (command,) = (c for page, c in commands() if page.name == 'pretrain.md' and '--det' in c)
    assert run_tool('pretrain.py', *shlex.split(command)[2:])[0] == 0
    by_python, by_command = ({task: named_folders(call[task]) for task in ('cls', 'det', 'seg')} for call in called)
    assert by_python == by_command
    assert called[0]['out'] == called[1]['out']


def test_two_lengths_are_refused(run_tool, called):
    assert run_tool('pretrain.py', '--out', 'o', '--cls', 'x', '--epochs', '3', '--budget', '1h')[0] == 2
    assert not called


def test_bad_input_ends_in_one_line_and_an_interruption_in_its_status(run_tool, monkeypatch):
    def fail(error):
        def pretrain(**_):
            raise error

        monkeypatch.setattr(module, 'pretrain', pretrain)

    fail(SourceError('no such folder'))
    assert run_tool('pretrain.py', '--out', 'o') == (1, '', 'error: no such folder\n')
    fail(KeyboardInterrupt())
    assert run_tool('pretrain.py', '--out', 'o')[0] == 130
