"""What the suite's command line makes of its words before anything runs."""

import runpy
from pathlib import Path

import pytest

from xlearner_mm.transfer import run_suite as module

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs a tool in an empty folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(tool, *words):
        monkeypatch.setattr('sys.argv', [tool, *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        return ended.value.code

    return run


@pytest.fixture
def transferred(monkeypatch):
    """The checkpoints that the suite was called with."""
    checkpoints = []
    monkeypatch.setattr(module, 'run_suite', lambda checkpoint, *_, **__: checkpoints.append(checkpoint) or 0)
    return checkpoints


def test_a_checkpoint_is_looked_for_where_the_command_is_typed(call, transferred, tmp_path):
    (tmp_path / 'backbone.pth').touch()
    assert call('transfer.py', 'backbone.pth') == 0
    assert transferred == [str(tmp_path / 'backbone.pth')]


@pytest.mark.parametrize('word', ['scratch', 's3://bucket/backbone.pth'])
def test_the_random_start_and_an_address_are_no_paths(call, transferred, tmp_path, word):
    (tmp_path / 'scratch').mkdir()
    assert call('transfer.py', word) == 0
    assert transferred == [word]


def test_a_probe_of_what_is_fine_tuned_is_refused_in_one_line(call, transferred, capsys):
    assert call('transfer.py', 'scratch', '--finetune', '--probe', 'knn') == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith('error: probe knn judges a frozen backbone')
    assert transferred == []


@pytest.mark.parametrize('command', [['demo.py'], ['run_pipeline.py', 'xlearner']])
def test_the_demo_and_the_variants_need_a_worker(call, capsys, command):
    assert call(*command, '--workers', '0') == 2
    assert '--workers must be at least 1, got 0' in capsys.readouterr().err
