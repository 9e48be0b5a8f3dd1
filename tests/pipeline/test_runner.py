"""Jobs as a user meets them: in order, skipped when done, continued when interrupted."""

import io
import json
import multiprocessing
import os
import signal
import sys

import pytest
from filelock import FileLock
from rich.console import Console

from tests.processes import until
from xlearner_mm.errors import ConfigError
from xlearner_mm.pipeline import Job, JobRunner
from xlearner_mm.pipeline.display import Display


@pytest.fixture
def trace(tmp_path):
    return tmp_path / 'trace'


@pytest.fixture
def python(trace):
    """Returns a job of Python code, which leaves its name in the trace."""

    def make(name, code='pass', needs=(), **settings):
        full = f'open({str(trace)!r}, "a").write({name!r} + " ")\n{code}'
        return Job(name, (sys.executable, '-S', '-c', full), needs, **settings)

    return make


@pytest.fixture
def run(tmp_path):
    """Returns what runs jobs in one work directory; gives the outcome with all that was printed."""

    def call(*jobs, workers=2, fresh=False, **settings):
        out = io.StringIO()
        display = Display(Console(file=out, width=200), every=0)
        outcome = JobRunner(jobs, tmp_path / 'work', workers, display=display, poll=0.02, **settings).run(fresh)
        outcome.text = out.getvalue()
        return outcome

    return call


def ran(trace):
    names = trace.read_text().split() if trace.exists() else []
    trace.unlink(missing_ok=True)
    return names


def test_jobs_run_after_those_they_need(run, python, trace):
    outcome = run(python('c', needs=('b',)), python('b', needs=('a',)), python('a'))
    assert outcome.status == 0
    assert ran(trace) == ['a', 'b', 'c']


def test_jobs_keep_their_order_on_request(run, python, trace):
    jobs = [python('a', seconds=1), python('b', needs=('a',), seconds=1), python('c', seconds=900)]
    run(*jobs, workers=1, keep_order=True)
    assert ran(trace) == ['a', 'b', 'c']


def test_the_longest_chain_goes_first(run, python, trace):
    short, long = python('short'), python('long')
    run(short, long, python('after', needs=('long',)), workers=1)
    assert ran(trace)[0] == 'long'


class Releasing(Display):
    """Lets a job end after some more looks at the same ones running, at any of which the runner may start another."""

    def __init__(self, folder):
        super().__init__(Console(file=io.StringIO()))
        self.folder, self.seen = folder, []

    def update(self, status):
        self.seen.append([job.name for job in status.running])
        if self.seen[-5:] == self.seen[-1:] * 5:
            (self.folder / self.seen[-1][0]).touch()


def test_at_most_the_given_number_run_at_once(python, tmp_path):
    display = Releasing(tmp_path)
    code = 'import os, time\nwhile not os.path.exists({!r}): time.sleep(0.01)'
    jobs = [python(name, code.format(str(tmp_path / name))) for name in 'abcd']
    assert JobRunner(jobs, tmp_path / 'work', workers=2, display=display, poll=0.01).run().status == 0
    assert max(map(len, display.seen)) == 2


def test_finished_jobs_are_skipped(run, python, trace):
    run(python('a'), python('b', needs=('a',)))
    ran(trace)
    outcome = run(python('a'), python('b', needs=('a',)))
    assert outcome.status == 0
    assert ran(trace) == []
    assert outcome.seconds['a'] > 0


def test_a_job_that_checks_what_can_change_unseen_is_repeated(run, python, trace):
    jobs = (python('check', repeat=True), python('train', needs=('check',)))
    run(*jobs)
    assert ran(trace) == ['check', 'train']
    run(*jobs)
    assert ran(trace) == ['check']


def test_a_second_runner_in_the_same_folder_is_refused(run, python, trace, tmp_path):
    run(python('first'))
    with FileLock(tmp_path / 'work/jobs.json.lock'), pytest.raises(ConfigError, match='work: another call is at work'):
        run(python('second'))
    assert run(python('third')).status == 0
    assert ran(trace) == ['first', 'third']


def test_a_runner_knows_what_another_one_has_finished_meanwhile(python, trace, tmp_path):
    early = JobRunner([python('a')], tmp_path / 'work', 1, poll=0.02)
    for runner in (JobRunner([python('a')], tmp_path / 'work', 1, poll=0.02), early):
        assert runner.run().status == 0
    assert ran(trace) == ['a']


def test_a_changed_job_and_its_dependents_run_again(run, python, trace):
    run(python('a'), python('b', needs=('a',)), python('other'))
    ran(trace)
    run(python('a', 'print(1)'), python('b', needs=('a',)), python('other'))
    assert ran(trace) == ['a', 'b']


def test_a_job_whose_output_is_gone_runs_again(run, python, trace, tmp_path):
    out = tmp_path / 'out'
    job = python('a', f'open({str(out)!r}, "w")', outputs=(out,))
    run(job)
    out.unlink()
    run(job)
    assert ran(trace) == ['a', 'a']


def test_a_folder_that_no_run_has_recorded_is_left_alone(run, python, trace, tmp_path):
    folder = tmp_path / 'stage'
    folder.mkdir()
    job = python('a', folder=folder)
    assert run(job).status == 0, 'an empty one'
    folder.mkdir()
    (folder / 'iter_9.pth').touch()
    (tmp_path / 'work' / 'jobs.json').unlink()
    ran(trace)
    with pytest.raises(ConfigError, match=r"job 'a': .*stage holds iter_9\.pth.*jobs\.json.*move"):
        run(python('other'), job)
    assert (folder / 'iter_9.pth').exists()
    assert ran(trace) == []


class TestFailure:
    def test_other_jobs_continue_and_dependents_are_skipped(self, run, python, trace):
        bad = python('bad', 'raise SystemExit("no such class: spoon")')
        outcome = run(bad, python('after', needs=('bad',)), python('later', needs=('after',)), python('other'))
        assert outcome.status == 1
        assert outcome.failed == ['bad']
        assert outcome.left_out == ['after', 'later']
        assert sorted(ran(trace)) == ['bad', 'other']

    def test_shows_the_end_of_the_log_and_where_it_is(self, run, python, tmp_path):
        outcome = run(python('bad', 'for i in range(99): print("line", i)\nraise SystemExit("no spoon")'))
        assert 'no spoon' in outcome.text
        assert 'line 98' in outcome.text
        assert 'line 60' not in outcome.text
        assert str(tmp_path / 'work' / 'logs' / 'bad.log') in outcome.text.replace('\n', '')

    def test_a_missing_output_is_a_failure(self, run, python, tmp_path):
        outcome = run(python('a', outputs=(tmp_path / 'never',)))
        assert outcome.status == 1
        assert 'never is missing' in outcome.text.replace('\n', '')

    def test_a_failed_job_without_a_checkpoint_starts_over(self, run, python, tmp_path):
        kept = tmp_path / 'kept'
        code = f'import os, sys; print(sys.argv[1:]); os.makedirs({str(kept / "iter_1")!r}); sys.exit(3)'
        bad = python('bad', code, resume=('--resume',), folder=kept)
        run(bad)
        run(bad)
        log = (tmp_path / 'work' / 'logs' / 'bad.log').read_text()
        assert '--resume' not in log
        assert 'FileExistsError' not in log, 'its folder is emptied'

    def test_a_fresh_run_repeats_its_own_jobs_and_keeps_all_else(self, run, python, tmp_path):
        code = f"""if True:
            import pathlib
            folder = pathlib.Path({str(tmp_path / 'own')!r})
            print([path.name for path in folder.glob('*')])
            folder.mkdir(exist_ok=True)
            (folder / 'iter_1.pth').touch()"""
        job, other = python('own', code, resume=('--resume',), folder=tmp_path / 'own'), python('other')
        run(job, other)
        (tmp_path / 'work' / 'mine.txt').touch()
        assert run(job, fresh=True).status == 0
        assert (tmp_path / 'work' / 'logs' / 'own.log').read_text().endswith('[]\n'), 'its folder is emptied'
        assert (tmp_path / 'work' / 'mine.txt').exists()
        assert 'other: starts' not in run(job, other).text

    def test_a_failed_job_resumes_from_its_checkpoint(self, run, python, tmp_path):
        kept = tmp_path / 'kept'
        code = f"""if True:
            import pathlib, sys
            kept = pathlib.Path({str(kept)!r})
            print(sys.argv[1:], [path.name for path in kept.glob('*')])
            kept.mkdir(exist_ok=True)
            (kept / 'last_checkpoint').write_text('iter_4.pth')
            sys.exit(0 if sys.argv[1:] else 1)"""
        job = python('full_disk', code, resume=('--resume',), folder=kept)
        assert run(job).failed == ['full_disk']
        assert run(job).status == 0
        log = (tmp_path / 'work' / 'logs' / 'full_disk.log').read_text()
        assert "['--resume'] ['last_checkpoint']" in log

    @pytest.mark.parametrize('end', ['sys.exit(75)', 'os.kill(os.getpid(), signal.SIGKILL)'])
    def test_an_interrupted_or_killed_job_resumes(self, run, python, tmp_path, end):
        code = f'import os, signal, sys; print(sys.argv[1:], flush=True)\nif not sys.argv[1:]: {end}'
        job = python('a', code, resume=('--resume',), folder=tmp_path / 'kept')
        assert run(job).failed == ['a']
        assert run(job).status == 0
        assert "['--resume']" in (tmp_path / 'work' / 'logs' / 'a.log').read_text()


class TestInterruption:
    SLOW = """if True:
        import sys, time
        print("started with", sys.argv[1:], flush=True)
        while not sys.argv[1:]:
            time.sleep(1)
    """

    @pytest.fixture
    def start(self, tmp_path):
        """Returns what starts the same jobs in a process of their own; it writes what it says to a file."""

        def call(said):
            jobs = [
                Job('quick', (sys.executable, '-S', '-c', 'pass')),
                Job('slow', (sys.executable, '-S', '-c', self.SLOW), ('quick',), resume=('--resume',)),
            ]

            def main():
                with open(said, 'w', buffering=1) as file:
                    display = Display(Console(file=file, width=200), every=0)
                    outcome = JobRunner(jobs, tmp_path, display=display, poll=0.02).run()
                sys.exit(outcome.status)

            process = multiprocessing.get_context('fork').Process(target=main)
            process.start()
            return process

        return call

    @pytest.mark.parametrize('sign', [signal.SIGTERM, signal.SIGINT])
    def test_interruption_ends_jobs_and_the_same_command_resumes(self, start, tmp_path, sign):
        log, said = tmp_path / 'logs' / 'slow.log', tmp_path / 'said'
        first = start(said)
        until(lambda: log.exists() and 'started with []' in log.read_text() and 'running: slow' in said.read_text())
        os.kill(first.pid, sign)
        first.join()
        assert first.exitcode == 130
        assert 'interrupted: slow; the same command' in said.read_text()

        second = start(said)
        second.join()
        assert second.exitcode == 0
        assert 'quick: starts' not in said.read_text()
        assert "started with ['--resume']" in log.read_text()
        assert json.loads((tmp_path / 'jobs.json').read_text())['slow']['finished']


class TestFork:
    """Scripts in copies of this process behave as if Python had been started for them."""

    @pytest.fixture
    def script(self, tmp_path):
        def make(name, code):
            path = tmp_path / f'{name}.py'
            path.write_text(code)
            return Job(name, (sys.executable, str(path), 'word'))

        return make

    def log(self, tmp_path, name):
        return (tmp_path / 'work' / 'logs' / f'{name}.log').read_text()

    def test_is_the_main_script_with_its_arguments_and_output(self, run, script, tmp_path):
        code = 'import os, sys; print(__name__, sys.argv[1:], os.environ["OMP_NUM_THREADS"]); os.system("echo child")'
        assert run(script('a', code), fork=True).status == 0
        assert "__main__ ['word']" in self.log(tmp_path, 'a')
        assert 'child' in self.log(tmp_path, 'a')

    @pytest.mark.parametrize('fork', [False, True])
    def test_has_as_many_threads_as_are_set(self, run, script, tmp_path, fork):
        run(script('a', 'import os; print("threads", os.environ["OMP_NUM_THREADS"])'), fork=fork, threads=7)
        assert 'threads 7' in self.log(tmp_path, 'a')

    def test_does_not_import_again_what_this_process_has_imported(self, run, script, tmp_path):
        run(script('a', 'import sys; print("numpy" in sys.modules)'), fork=True)
        assert 'True' in self.log(tmp_path, 'a')

    def test_a_traceback_is_a_failure_with_its_log(self, run, script, tmp_path):
        outcome = run(script('a', 'raise KeyError("spoon")'), fork=True)
        assert outcome.status == 1
        assert "KeyError: 'spoon'" in self.log(tmp_path, 'a')

    def test_restores_the_state_of_this_process(self, run, script):
        before = (os.getpid(), sys.argv[:], os.getcwd(), signal.getsignal(signal.SIGTERM))
        run(script('a', 'import os, sys; sys.argv = []; os.chdir("/")'), fork=True)
        assert (os.getpid(), sys.argv[:], os.getcwd(), signal.getsignal(signal.SIGTERM)) == before


class TestDisplay:
    def test_without_a_terminal_lines_show_the_time_left(self, run, python):
        outcome = run(python('a'))
        assert 'a: starts' in outcome.text
        assert '0 of 1 jobs done, about' in outcome.text
        assert 'a: done in' in outcome.text
        assert '[1 of 1]' in outcome.text

    def test_a_terminal_shows_progress_bars(self, python, tmp_path):
        out = io.StringIO()
        display = Display(Console(file=out, force_terminal=True, width=120))
        JobRunner([python('a')], tmp_path / 'work', display=display, poll=0.02).run()
        assert '━' in out.getvalue()
        assert '0 of 1 jobs' in out.getvalue()


def test_every_worker_has_a_device_of_its_own(tmp_path, run):
    code = """if True:
        import os, pathlib, sys, time
        folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
        (folder / name).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        while not all((folder / other).exists() for other in "ab"):
            time.sleep(0.01)
    """

    def job(name, needs=()):
        return Job(name, (sys.executable, '-S', '-c', code, str(tmp_path), name), needs)

    assert run(job('a'), job('b'), job('c', needs=('a', 'b')), devices=('3', '5')).status == 0
    assert {(tmp_path / name).read_text() for name in 'ab'} == {'3', '5'}
    assert (tmp_path / 'c').read_text() == '3', 'the first worker is free again'
