import pytest

from xlearner_mm.pipeline.job import Job, JobError
from xlearner_mm.pipeline.runner import in_order, makespan, ranks


def job(name, *needs, seconds=10.0):
    return Job(name, ('true',), needs, seconds)


class TestOrder:
    def test_jobs_come_after_those_they_need(self):
        order = list(in_order([job('squeeze', 'expansion'), job('export', 'squeeze'), job('expansion')]))
        assert order == ['expansion', 'squeeze', 'export']

    def test_names_the_unknown_need(self):
        with pytest.raises(JobError, match=r"'squeeze' needs \['expnsion'\].*there are \['squeeze'\]"):
            in_order([job('squeeze', 'expnsion')])

    def test_names_jobs_that_wait_for_each_other(self):
        with pytest.raises(JobError, match='wait for each other'):
            in_order([job('a', 'b'), job('b', 'a')])

    def test_names_a_name_used_twice(self):
        with pytest.raises(JobError, match=r"several jobs are called \['a'\]"):
            in_order([job('a'), job('a')])


def test_rank_is_the_longest_chain_that_begins_with_a_job():
    jobs = in_order([job('a', seconds=5), job('b', 'a', seconds=7), job('c', 'a', seconds=1), job('d', seconds=6)])
    assert ranks(jobs) == {'a': 12, 'b': 7, 'c': 1, 'd': 6}


class TestMakespan:
    jobs = in_order([job('a'), job('b', 'a'), job('c'), job('d')])

    def play(self, workers, running=(), **remaining):
        return makespan(self.jobs, remaining, running, workers)

    def test_one_worker_takes_the_sum(self):
        assert self.play(1, a=10, b=10, c=10, d=10) == 40

    def test_two_workers_share(self):
        assert self.play(2, a=10, b=10, c=10, d=10) == 20

    def test_a_chain_cannot_be_shared(self):
        assert self.play(4, a=10, b=10, c=10, d=10) == 20

    def test_counts_what_is_left_of_the_running_ones(self):
        assert self.play(2, running=('a', 'c'), a=3, c=20, b=10, d=10) == 23

    def test_nothing_left_is_no_time(self):
        assert self.play(2) == 0
