"""Jobs as a user meets them: in order, skipped when done, continued when interrupted."""

import io
import json
import multiprocessing
import os
import signal
import sys
import time

import pytest
from rich.console import Console

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

    def call(*jobs, workers=2, **settings):
        out = io.StringIO()
        display = Display(Console(file=out, width=200), every=0.05)
        outcome = JobRunner(jobs, tmp_path / 'work', workers, display=display, poll=0.02, **settings).run()
        outcome.text = out.getvalue()
        return outcome

    return call


def ran(trace):
    names = trace.read_text().split() if trace.exists() else []
    trace.unlink(missing_ok=True)
    return names


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, 'it has not come'
        time.sleep(0.02)


def test_jobs_run_after_those_they_need(run, python, trace):
    outcome = run(python('c', needs=('b',)), python('b', needs=('a',)), python('a'))
    assert outcome.status == 0
    assert ran(trace) == ['a', 'b', 'c']


def test_the_longest_chain_goes_first(run, python, trace):
    short, long = python('short'), python('long')
    run(short, long, python('after', needs=('long',)), workers=1)
    assert ran(trace)[0] == 'long'


def test_at_most_so_many_run_at_once(run, python, tmp_path):
    code = 'import time; start = time.time(); time.sleep(0.2); print("span", start, time.time())'
    run(*(python(name, code) for name in 'abcd'), workers=2)
    spans = [
        [float(word) for word in line.split()[1:]]
        for name in 'abcd'
        for line in (tmp_path / 'work' / 'logs' / f'{name}.log').read_text().splitlines()
        if line.startswith('span')
    ]
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) == 2


def test_what_is_done_is_skipped(run, python, trace):
    run(python('a'), python('b', needs=('a',)))
    ran(trace)
    outcome = run(python('a'), python('b', needs=('a',)))
    assert outcome.status == 0
    assert ran(trace) == []
    assert outcome.seconds['a'] > 0


def test_a_changed_job_and_all_that_need_it_run_again(run, python, trace):
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


class TestFailure:
    def test_others_go_on_and_dependants_are_left_out(self, run, python, trace):
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
        assert 'did not write' in outcome.text

    def test_a_failed_job_starts_anew(self, run, python, tmp_path):
        bad = python('bad', 'import sys; print(sys.argv[1:]); sys.exit(3)', resume=('--resume',))
        run(bad)
        run(bad)
        assert '--resume' not in (tmp_path / 'work' / 'logs' / 'bad.log').read_text()

    @pytest.mark.parametrize('end', ['sys.exit(75)', 'os.kill(os.getpid(), signal.SIGKILL)'])
    def test_a_job_that_was_stopped_or_killed_goes_on(self, run, python, tmp_path, end):
        code = f'import os, signal, sys; print(sys.argv[1:], flush=True)\nif not sys.argv[1:]: {end}'
        job = python('a', code, resume=('--resume',), folder=tmp_path / 'kept')
        assert run(job).failed == ['a']
        assert run(job).status == 0
        assert "['--resume']" in (tmp_path / 'work' / 'logs' / 'a.log').read_text()


class TestInterruption:
    SLOW = 'import sys, time; print("started with", sys.argv[1:], flush=True); time.sleep(0 if sys.argv[1:] else 60)'

    @pytest.fixture
    def start(self, tmp_path):
        """Returns what starts the same jobs in a process of their own; it writes what it says to a file."""

        def call(said):
            jobs = [
                Job('quick', (sys.executable, '-S', '-c', 'pass')),
                Job('slow', (sys.executable, '-S', '-c', self.SLOW), ('quick',), resume=('--resume',)),
            ]

            def main():
                with open(said, 'w') as file:
                    outcome = JobRunner(jobs, tmp_path, display=Display(Console(file=file, width=200)), poll=0.02).run()
                sys.exit(outcome.status)

            process = multiprocessing.get_context('fork').Process(target=main)
            process.start()
            return process

        return call

    @pytest.mark.parametrize('sign', [signal.SIGTERM, signal.SIGINT])
    def test_ends_its_jobs_and_the_same_command_goes_on(self, start, tmp_path, sign):
        log, said = tmp_path / 'logs' / 'slow.log', tmp_path / 'said'
        first = start(said)
        wait_for(lambda: log.exists() and 'started with []' in log.read_text())
        os.kill(first.pid, sign)
        first.join(20)
        assert first.exitcode == 130
        assert 'stopped: slow; the same command goes on from here' in said.read_text()

        second = start(said)
        second.join(20)
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

    def test_does_not_import_again_what_this_process_has_imported(self, run, script, tmp_path):
        run(script('a', 'import sys; print("numpy" in sys.modules)'), fork=True)
        assert 'True' in self.log(tmp_path, 'a')

    def test_a_traceback_is_a_failure_with_its_log(self, run, script, tmp_path):
        outcome = run(script('a', 'raise KeyError("spoon")'), fork=True)
        assert outcome.status == 1
        assert "KeyError: 'spoon'" in self.log(tmp_path, 'a')

    def test_leaves_this_process_as_it_was(self, run, script):
        before = (os.getpid(), sys.argv[:], os.getcwd(), signal.getsignal(signal.SIGTERM))
        run(script('a', 'import os, sys; sys.argv = []; os.chdir("/")'), fork=True)
        assert (os.getpid(), sys.argv[:], os.getcwd(), signal.getsignal(signal.SIGTERM)) == before


class TestDisplay:
    def test_without_a_terminal_there_are_lines_with_the_time_left(self, run, python):
        outcome = run(python('a', 'import time; time.sleep(0.4)'))
        assert 'a: starts' in outcome.text
        assert '0 of 1 jobs done, about' in outcome.text
        assert 'a: done in' in outcome.text
        assert '[1 of 1]' in outcome.text

    def test_in_a_terminal_there_are_bars(self, python, tmp_path):
        out = io.StringIO()
        display = Display(Console(file=out, force_terminal=True, width=120))
        JobRunner([python('a', 'import time; time.sleep(0.3)')], tmp_path / 'work', display=display, poll=0.02).run()
        assert '━' in out.getvalue()
        assert '0 of 1 jobs' in out.getvalue()


def test_every_worker_has_a_device_of_its_own(tmp_path, run):
    def job(name, needs=()):
        told = tmp_path / name
        code = f'import os, time; open({str(told)!r}, "w").write(os.environ["CUDA_VISIBLE_DEVICES"]); time.sleep(0.3)'
        return Job(name, (sys.executable, '-S', '-c', code), needs)

    assert run(job('a'), job('b'), job('c', needs=('a', 'b')), devices=('3', '5')).status == 0
    assert {(tmp_path / name).read_text() for name in 'ab'} == {'3', '5'}
    assert (tmp_path / 'c').read_text() == '3', 'the first worker is free again'
