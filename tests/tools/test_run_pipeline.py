"""The end of a pipeline of variants."""

import importlib.util
import sys
from pathlib import Path

import pytest

from xlearner_mm.experiments import run
from xlearner_mm.pipeline.runner import INTERRUPTED, Outcome

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('run_pipeline', ROOT / 'tools' / 'run_pipeline.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_relative_work_dir_is_below_the_folder_of_the_call(tool, monkeypatch, tmp_path):
    folders = []
    monkeypatch.setattr(run, 'run_pipeline', lambda names, work_dir, *_: folders.append(work_dir))
    monkeypatch.chdir(tmp_path)  # restored afterwards: the tool goes elsewhere
    monkeypatch.setattr(sys, 'argv', ['run_pipeline.py', 'hard_sharing', '--work-dir', 'mine'])
    tool.main()
    assert folders == [tmp_path / 'mine']


@pytest.mark.parametrize('failed', [[], ['xlearner/export']], ids=['alone', 'after a failure'])
def test_unfinished_variants_are_not_in_the_report(tool, monkeypatch, tmp_path, failed):
    class Interrupted:
        def __init__(self, *args):
            pass

        def run(self, fresh):
            return Outcome(INTERRUPTED, {}, failed, [])

    monkeypatch.chdir(ROOT)  # where the tool goes, too
    monkeypatch.setattr(run, 'JobRunner', Interrupted)
    monkeypatch.setattr(sys, 'argv', ['run_pipeline.py', 'hard_sharing', '--work-dir', str(tmp_path)])
    assert tool.main() == INTERRUPTED
    assert not (tmp_path / 'report.json').exists()
