import json

import pytest

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.pipeline.state import JobStates


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'work' / 'jobs.json'


def test_a_finished_job_is_known_to_later_runs(path):
    states = JobStates(path)
    states.begin('a', 'print')
    states.add_time('a', 2.5, finished=True)
    later = JobStates(path)
    assert later.is_finished('a', 'print')
    assert not later.is_finished('a', 'another print')
    assert later.records['a'].seconds == 2.5


def test_an_interrupted_job_resumes_and_adds_its_time(path):
    states = JobStates(path)
    assert not states.begin('a', 'print')
    states.add_time('a', 2, finished=False)
    later = JobStates(path)
    assert later.begin('a', 'print')
    later.add_time('a', 3, finished=True)
    assert later.records['a'].seconds == 5


def test_a_killed_run_counts_as_interrupted(path):
    JobStates(path).begin('a', 'print')
    assert JobStates(path).begin('a', 'print')


def test_a_changed_job_restarts(path):
    JobStates(path).begin('a', 'print')
    assert not JobStates(path).begin('a', 'another print')


def test_a_damaged_file_counts_as_none(path):
    path.parent.mkdir()
    for text in ('{"a": {"finger', '[]', '{"a": {"color": 1}}'):
        path.write_text(text)
        assert JobStates(path).records == {}


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    atomic_write_text(path, 'old')
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        atomic_write_text(path, 'new')
    assert path.read_text() == 'old'


def test_the_file_is_readable_json(path):
    JobStates(path).begin('a', 'print')
    assert json.loads(path.read_text()) == {'a': {'fingerprint': 'print', 'finished': False, 'seconds': 0.0}}
