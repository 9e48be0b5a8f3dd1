"""Parsing of the suite's command line."""

import pytest

from xlearner_mm.transfer import suite as module


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    """The current directory of the commands."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def transferred(monkeypatch):
    """The checkpoints that the suite was called with."""
    checkpoints = []
    monkeypatch.setattr(module, 'run_suite', lambda checkpoint, *_, **__: checkpoints.append(checkpoint) or 0)
    return checkpoints


def test_checkpoint_paths_are_relative_to_the_current_directory(run_tool, transferred, tmp_path):
    (tmp_path / 'backbone.pth').touch()
    assert run_tool('transfer.py', 'backbone.pth')[0] == 0
    assert transferred == [str(tmp_path / 'backbone.pth')]


@pytest.mark.parametrize('word', ['scratch', 's3://bucket/backbone.pth'])
def test_the_random_start_and_an_address_are_no_paths(run_tool, transferred, tmp_path, word):
    (tmp_path / 'scratch').mkdir()
    assert run_tool('transfer.py', word)[0] == 0
    assert transferred == [word]


@pytest.mark.parametrize(('word', 'suite'), [('mine', '{}/mine'), ('mini', 'mini'), ('nowhere', 'nowhere')])
def test_an_own_suite_is_relative_to_the_current_directory_too(run_tool, monkeypatch, tmp_path, word, suite):
    suites = []
    monkeypatch.setattr(module, 'run_suite', lambda _, given, *__, **___: suites.append(given) or 0)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mini').mkdir()
    assert run_tool('transfer.py', 'scratch', '--suite', word)[0] == 0
    assert suites == [suite.format(tmp_path)]


def test_probe_and_finetune_together_are_refused_in_one_line(run_tool, transferred):
    status, _, errors = run_tool('transfer.py', 'scratch', '--finetune', '--probe', 'knn')
    assert status == 1
    (error,) = errors.splitlines()
    assert error.startswith('error: probe knn needs a frozen backbone')
    assert transferred == []


@pytest.mark.parametrize('command', [['demo.py'], ['run_pipeline.py', 'xlearner']])
def test_the_demo_and_the_variants_need_a_worker(run_tool, command):
    status, _, errors = run_tool(*command, '--workers', '0')
    assert status == 2
    assert '--workers must be at least 1, got 0' in errors
