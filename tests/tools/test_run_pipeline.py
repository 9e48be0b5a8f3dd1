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
