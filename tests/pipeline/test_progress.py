"""Progress files, and the progress shown for jobs that write them."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.any_settings import FEW
from xlearner_mm.pipeline.job import Job, in_order
from xlearner_mm.pipeline.progress import PROGRESS_FILE, Estimator, Progress, ProgressFile, makespan


@pytest.fixture
def clock(monkeypatch):
    """Returns a clock that stands still until it is set."""

    class Clock:
        now = 100.0

    monkeypatch.setattr('xlearner_mm.pipeline.progress.time.monotonic', lambda: Clock.now)
    return Clock


class TestFile:
    def test_is_written_at_the_start_once_a_second_and_at_the_end(self, tmp_path, clock):
        file, seen = ProgressFile(tmp_path, 40), []
        for step in range(1, 41):
            clock.now += 0.125
            file.update(step)
            if not seen or Progress.read(tmp_path).step != seen[-1]:
                seen.append(Progress.read(tmp_path).step)
        assert seen == [0, 8, 16, 24, 32, 40]
        assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]

    def test_speed_is_measured_after_the_slow_first_step(self, tmp_path, clock):
        file = ProgressFile(tmp_path, 100, 50)
        assert Progress.read(tmp_path) == Progress(50, 100, 50, 0.0)
        clock.now += 30
        file.update(51)
        clock.now += 2
        file.update(55)
        assert Progress.read(tmp_path) == Progress(55, 100, 51, 2.0)

    def test_names_are_plain(self, tmp_path):
        ProgressFile(tmp_path, 3)
        assert json.loads((tmp_path / PROGRESS_FILE).read_text()) == {
            'step': 0,
            'steps': 3,
            'first': 0,
            'seconds': 0.0,
        }

    @pytest.mark.parametrize(
        'text',
        [
            '',
            '{"step": 3, "ste',
            '[]',
            '3',
            '{}',
            '{"step": 3, "steps": 0, "first": 0, "seconds": 1}',
            '{"step": 5, "steps": 4, "first": 0, "seconds": 1}',
            '{"step": 3, "steps": 4, "first": -1, "seconds": 1}',
            '{"step": 3.5, "steps": 4, "first": 0, "seconds": 1}',
            '{"step": "3", "steps": 4, "first": 0, "seconds": 1}',
            '{"step": 3, "steps": 4, "first": 0, "seconds": NaN}',
            '{"step": 3, "steps": 4, "first": 0, "seconds": "1"}',
            '{"step": 3, "steps": 4, "first": 0, "seconds": 1, "more": 2}',
            '\xff\xfe',
        ],
    )
    def test_a_damaged_file_is_no_progress(self, tmp_path, text):
        (tmp_path / PROGRESS_FILE).write_bytes(text.encode('latin-1'))
        assert Progress.read(tmp_path) is None

    def test_a_missing_file_is_no_progress(self, tmp_path):
        assert Progress.read(tmp_path / 'nowhere') is None


@pytest.fixture
def job(tmp_path):
    """Returns a job that writes its progress."""

    def make(name, *needs, seconds=100.0):
        (tmp_path / name).mkdir()
        return Job(name, ('true',), needs, seconds, folder=tmp_path / name)

    return make


def write(job, step, steps=450, first=0, seconds=0.0):
    content = {'step': step, 'steps': steps, 'first': first, 'seconds': seconds}
    (job.folder / PROGRESS_FILE).write_text(json.dumps(content))


def shown(estimator, elapsed, *running, waiting=()):
    """The shares in percent and the time left, of jobs that were all started at zero."""
    status = estimator.status(elapsed, dict.fromkeys(running, elapsed), waiting)
    return [round(100 * each.share) for each in status.running], status.remaining


class TestShares:
    def test_are_those_of_the_steps(self, job):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        assert shown(estimator, 30, 'a')[0] == [0]
        write(a, 110, seconds=60)
        assert shown(estimator, 90, 'a')[0] == [24]

    def test_stay_below_100_percent_until_a_job_ends(self, job):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        write(a, 450)
        status = estimator.status(500, {'a': 500.0}, [])
        assert status.share == status.running[0].share == 0.99
        assert estimator.status(501, {}, []).share == 1.0

    def test_count_what_follows_the_last_step(self, job):
        a = replace(job('a', seconds=100.0), after=20.0)
        estimator = Estimator({'a': a}, 1)
        write(a, 225, seconds=40)
        assert shown(estimator, 40, 'a')[0] == [40]
        write(a, 450, seconds=80)
        assert [shown(estimator, seconds, 'a')[0] for seconds in (80, 90, 150)] == [[80], [90], [99]]

    @pytest.mark.parametrize('text', ['{"step": 1, "st', '{"step": 12, "steps": 450, "first": 0, "seconds": 1}', None])
    def test_never_fall_when_a_file_is_damaged_stale_or_missing(self, job, text):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        write(a, 225, seconds=50)
        assert shown(estimator, 50, 'a')[0] == [50]
        file = a.folder / PROGRESS_FILE
        file.unlink() if text is None else file.write_text(text)
        share, left = shown(estimator, 51, 'a')
        assert share == [50]
        assert left < 110

    def test_of_a_resumed_job_count_from_its_step(self, job):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        write(a, 300, first=300)
        assert shown(estimator, 20, 'a')[0] == [67]

    def test_of_all_jobs_weigh_by_their_declared_seconds(self, job):
        jobs = in_order([job('long', seconds=300.0), job('short', seconds=100.0), job('done', seconds=100.0)])
        estimator = Estimator(jobs, 2)
        write(jobs['long'], 150)
        assert estimator.status(1, {'long': 1.0}, ['short']).share == pytest.approx(0.4)

    def test_of_a_job_without_a_folder_go_by_its_seconds(self):
        estimator = Estimator({'a': Job('a', ('true',), seconds=10)}, 1)
        shares = [shown(estimator, seconds, 'a')[0][0] for seconds in (1, 5, 50, 5000)]
        assert shares[0] < shares[1] < shares[2] <= shares[3] < 100


class TestTimeLeft:
    def test_is_that_of_the_declared_seconds_at_first(self, job):
        jobs = in_order([job('a'), job('b', 'a', seconds=50.0)])
        assert shown(Estimator(jobs, 2), 0, 'a', waiting=['b'])[1] == 150

    def test_comes_from_the_measured_seconds_per_step(self, job):
        a = job('a', seconds=5.0)
        estimator = Estimator({'a': a}, 1)
        write(a, 210, first=200, seconds=20)
        assert shown(estimator, 60, 'a')[1] == pytest.approx(2 * 240 + 1)

    def test_of_jobs_not_started_follows_those_that_have(self, job):
        jobs = in_order([job('a', seconds=6000.0), job('b', seconds=100.0)])
        running = Estimator(jobs, 1)
        write(jobs['a'], 225, seconds=6000)
        running.status(6000, {'a': 6000.0}, ['b'])
        assert running.whole('b') == pytest.approx(200, rel=0.03)
        finished = Estimator(jobs, 1)
        finished.finish('a', 12000)
        assert finished.whole('b') == pytest.approx(200, rel=0.02)

    def test_one_short_job_does_not_decide(self, job):
        estimator = Estimator(in_order([job('a', seconds=1.0), job('b', seconds=100.0)]), 1)
        estimator.finish('a', 20)
        assert estimator.whole('b') < 150

    def test_a_job_without_work_left_has_no_speed(self, job):
        estimator = Estimator(in_order([job('a', seconds=60.0), job('b', seconds=100.0)]), 1)
        estimator.finish('a', 0.2)
        assert estimator.whole('b') == 100

    def test_the_speed_of_a_resumed_job_counts_from_its_resume(self, job):
        jobs = in_order([job('a', seconds=1000.0), job('b', seconds=100.0)])
        estimator = Estimator(jobs, 1)
        write(jobs['a'], 450, first=360, seconds=200)
        estimator.status(200, {'a': 200.0}, ['b'])
        estimator.finish('a', 200)
        assert estimator.whole('b') == pytest.approx(100)

    def test_remaining_time_is_never_negative(self):
        estimator = Estimator({'a': Job('a', ('true',), seconds=10)}, 1)
        assert shown(estimator, 500, 'a')[1] >= 1

    def test_includes_what_follows_the_last_step(self, job):
        a = replace(job('a', seconds=100.0), after=20.0)
        estimator = Estimator({'a': a}, 1)
        write(a, 225, seconds=80)  # half as fast as declared, and so is what follows
        assert shown(estimator, 80, 'a')[1] == pytest.approx(80 + 20 * (60 + 80) / (60 + 40))
        write(a, 450, seconds=160)
        for second in range(81, 181):
            left = shown(estimator, second, 'a')[1]
        assert 1 < left < 20, 'it follows the estimate'

    def test_counts_down_between_two_writes(self, job):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        write(a, 10, steps=20, seconds=1000)
        first = shown(estimator, 1000, 'a')[1]
        assert shown(estimator, 1005, 'a')[1] < first - 3

    def test_follows_a_job_that_really_slows_down(self, job):
        a = job('a')
        estimator = Estimator({'a': a}, 1)
        write(a, 10, seconds=10)
        shown(estimator, 10, 'a')
        write(a, 20, seconds=210)
        for second in range(10, 1000):
            left = shown(estimator, second, 'a')[1]
        assert left == pytest.approx(10.5 * 430, rel=0.05)

    def test_grows_where_far_too_little_was_declared(self, job):
        a = job('a', seconds=30.0)
        estimator = Estimator({'a': a}, 1)
        for half_second in range(840):
            if half_second % 8 == 0:
                write(a, half_second // 8, seconds=half_second / 2)
            left = shown(estimator, half_second / 2, 'a')[1]
        assert left == pytest.approx(450 * 4 - 420, rel=0.1)


@FEW
@given(st.integers(0, 2**32))
def test_progress_never_falls_and_remaining_time_never_jumps(tmp_path_factory, seed):
    """Trainings on a machine with other loads: uneven steps, long validations, damaged and missing files, resumes."""
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp('jobs')
    jobs = in_order([
        Job(
            f'{number}',
            ('true',),
            tuple(f'{need}' for need in range(number) if draw.random() < 0.3),
            draw.choice([2.0, 60.0, 600.0]),
            folder=draw.choice([None, folder / f'{number}']),
            after=draw.choice([0.0, 1.5]),
        )
        for number in range(draw.randint(1, 6))
    ])  # fmt: skip
    workers = draw.randint(1, 3)
    estimator, waiting, running, now = Estimator(jobs, workers), list(jobs), {}, 0.0
    before, shares = None, {}
    while waiting or running:
        for name in [n for n in waiting if not {*jobs[n].needs} & {*waiting, *running}][: workers - len(running)]:
            waiting.remove(name)
            steps = draw.choice([3, 30, 450])
            resumed = draw.choice([0, steps // 2])
            speed = jobs[name].seconds / steps * draw.choice([0.2, 1, 5])
            running[name] = dict(began=now, first=resumed, step=resumed, steps=steps, speed=speed, seconds=0.0)
            if jobs[name].folder:
                jobs[name].folder.mkdir()
        status = estimator.status(now, {name: now - state['began'] for name, state in running.items()}, waiting)
        assert 0 <= status.share <= 1
        assert status.remaining >= 1
        if before is not None:
            assert status.share >= before.share
            assert status.remaining <= max(before.remaining, 1) * 2 ** ((now - before.elapsed) / 60) + 1e-6
        for job in status.running:
            assert shares.get(job.name, 0.0) <= job.share < 1
            shares[job.name] = job.share
        before = status
        pause = draw.choice([0.2, 5.0, 15.0, 60.0])
        now += pause
        for name, state in list(running.items()):
            load = draw.choice([0.1, 1, 1, 10])
            state['step'] = min(state['steps'], state['step'] + round(pause / state['speed'] / load + 0.5))
            state['seconds'] += pause
            if state['step'] == state['steps'] and draw.random() < 0.5:
                del running[name]
                estimator.finish(name, now - state['began'])
            elif jobs[name].folder and draw.random() < 0.9:
                text = json.dumps({key: state[key] for key in ('step', 'steps', 'first', 'seconds')})
                (jobs[name].folder / PROGRESS_FILE).write_text(draw.choice([text, text, text, text[:9], '[]']))
    assert estimator.status(now, {}, []).share == 1.0


class TestMakespan:
    jobs = in_order([Job(name, ('true',), needs) for name, needs in dict(a=(), b=('a',), c=(), d=()).items()])

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

    def test_finished_jobs_have_no_time_left(self):
        assert self.play(2) == 0
