import sys

import pytest

from xlearner_mm.pipeline import Job, JobError, training_job
from xlearner_mm.pipeline.job import config_files, in_order, ranks


@pytest.fixture
def configs(tmp_path):
    (tmp_path / 'base.py').write_text('max_iters = 10')
    (tmp_path / 'middle.py').write_text("_base_ = './base.py'")
    (tmp_path / 'top.py').write_text("# a comment\n_base_ = ['middle.py', 'mmdet::retinanet/x.py']\nlr = 1")
    return tmp_path


class TestFingerprint:
    def test_is_the_same_for_the_same_job(self, tmp_path):
        assert Job('a', ('x',)).fingerprint(['f']) == Job('a', ('x',), seconds=99).fingerprint(['f'])

    def test_does_not_change_when_python_is_moved(self, monkeypatch, configs):
        job = training_job('a', configs / 'top.py', configs / 'out')
        before = job.fingerprint()
        monkeypatch.setattr(sys, 'executable', '/elsewhere/bin/python')
        assert training_job('a', configs / 'top.py', configs / 'out').fingerprint() == before

    def test_changes_with_the_command_and_with_what_it_needs(self):
        base = Job('a', ('x',)).fingerprint(['f'])
        assert Job('a', ('x', '--fast')).fingerprint(['f']) != base
        assert Job('a', ('x',)).fingerprint(['g']) != base

    def test_changes_with_a_base_of_the_config(self, configs):
        job = training_job('a', configs / 'top.py', configs / 'out')
        before = job.fingerprint()
        (configs / 'base.py').write_text('max_iters = 20')
        assert job.fingerprint() != before


class TestTrainingJob:
    def test_calls_the_tool_with_the_options(self, configs):
        job = training_job('a', configs / 'top.py', configs / 'out', {'train_cfg.max_iters': 4})
        assert job.command[1:] == (
            'tools/train.py', str(configs / 'top.py'), '--work-dir', str(configs / 'out'),
            '--cfg-options', 'train_cfg.max_iters=4',
        )  # fmt: skip
        assert job.resume == ('--resume',)

    def test_is_not_done_without_a_checkpoint(self, configs):
        job = training_job('a', configs / 'top.py', configs / 'out')
        assert job.missing_outputs() == [configs / 'out' / 'last_checkpoint']

    def test_config_files_are_the_config_and_all_its_bases(self, configs):
        assert [file.name for file in config_files(configs / 'top.py')] == ['top.py', 'middle.py', 'base.py']

    def test_a_missing_config_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            training_job('a', tmp_path / 'none.py', tmp_path)


def job(name, *needs, seconds=10.0):
    return Job(name, ('true',), needs, seconds)


class TestOrder:
    def test_jobs_come_after_those_they_need(self):
        order = list(in_order([job('squeeze', 'expansion'), job('export', 'squeeze'), job('expansion')]))
        assert order == ['expansion', 'squeeze', 'export']

    def test_names_the_unknown_need(self):
        with pytest.raises(JobError, match=r"'squeeze'.*\['expnsion'\].*\['squeeze'\]"):
            in_order([job('squeeze', 'expnsion')])

    def test_names_jobs_that_wait_for_each_other(self):
        with pytest.raises(JobError, match='a -> b -> a|b -> a -> b'):
            in_order([job('a', 'b'), job('b', 'a')])

    def test_names_a_name_used_twice(self):
        with pytest.raises(JobError, match=r"jobs.*\['a'\]"):
            in_order([job('a'), job('a')])


def test_rank_is_the_longest_chain_that_begins_with_a_job():
    jobs = in_order([job('a', seconds=5), job('b', 'a', seconds=7), job('c', 'a', seconds=1), job('d', seconds=6)])
    assert ranks(jobs) == {'a': 12, 'b': 7, 'c': 1, 'd': 6}
