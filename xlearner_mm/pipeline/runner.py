"""Runs jobs in order, some at a time, and remembers what is done."""

from __future__ import annotations

import heapq
import os
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from xlearner_mm.pipeline.display import Display, Running, Status, duration
from xlearner_mm.pipeline.job import Job, JobError
from xlearner_mm.pipeline.process import Process, start, stop, tail
from xlearner_mm.pipeline.progress import Estimator, read_eta, read_fraction
from xlearner_mm.pipeline.state import JobStates

INTERRUPTED = 130  # the exit status of a command ended by Ctrl-C
_STOPPED = os.EX_TEMPFAIL  # that of a training which a signal stopped, and which goes on from its checkpoint
_INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Outcome:
    """How a run has ended.

    Args:
        status: 0, 1 where a job has failed, 130 after an interruption.
        seconds: job -> how long it has run, in this and in earlier runs.
        failed: names of the jobs that failed. Defaults to none.
        left_out: names of those that needed one of them. Defaults to none.
    """

    status: int
    seconds: dict[str, float]
    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass
class _Run:
    process: Process
    started: float
    worker: int


class JobRunner:
    """Runs jobs, each after those that it needs, at most ``workers`` at once.

    A job that has succeeded is skipped by later runs, until its command, an input, or something that it needs
    changes. Every worker gets its share of the cores as ``OMP_NUM_THREADS``.

    Args:
        jobs: the jobs, in any order.
        work_dir: gets ``jobs.json`` (what is done) and ``logs/<job>.log``.
        workers: how many run at once. Defaults to 2.
        fork: run Python scripts in copies of this process, which saves importing what it has imported.
            Defaults to False.
        display: what shows the progress. Defaults to None: one on standard output.
        poll: seconds between two looks at the running jobs. Defaults to 0.2.
        devices: GPUs, as ``CUDA_VISIBLE_DEVICES`` names them; every worker gets one of its own, or shares it where
            there are more workers. Defaults to none: all jobs see what this process sees.

    Raises:
        JobError: jobs that cannot be put in order.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        work_dir: Path,
        workers: int = 2,
        fork: bool = False,
        display: Display | None = None,
        poll: float = 0.2,
        devices: Sequence[str] = (),
    ) -> None:
        self.jobs = in_order(jobs)
        self.logs = work_dir / 'logs'
        self.states = JobStates(work_dir / 'jobs.json')
        self.workers, self.fork, self.poll = workers, fork, poll
        self.devices = tuple(devices)
        self.display = display or Display()
        self.env = {'OMP_NUM_THREADS': str(max(1, _usable_cores() // workers))}
        self._rank = ranks(self.jobs)
        self._estimator = Estimator({name: job.seconds for name, job in self.jobs.items()})
        self._fingerprints: dict[str, str] = {}
        self._waiting = list(self.jobs)
        self._running: dict[str, _Run] = {}
        self._failed: list[str] = []
        self._left_out: list[str] = []

    def run(self) -> Outcome:
        """Run all that is not done; return how it went."""
        began = time.monotonic()
        status = 0
        with _terminable():
            try:
                with self.display:
                    self._start_ready()
                    while self._running:
                        self.display.update(self._status(time.monotonic() - began))
                        time.sleep(self.poll)
                        self._collect()
                        self._start_ready()
                status = 1 if self._failed else 0
            except KeyboardInterrupt:
                self._interrupt()
                status = INTERRUPTED
            except BaseException:
                self._interrupt()
                raise
        seconds = {name: self.states.seconds(name) for name in self.jobs}
        return Outcome(status, seconds, self._failed, self._left_out)

    def _start_ready(self) -> None:
        """Start what can be started; set aside what is done already or has lost what it needs."""
        for name in list(self._waiting):  # in order: what is skipped or left out makes later ones ready
            job = self.jobs[name]
            if any(need in self._failed or need in self._left_out for need in job.needs):
                self._waiting.remove(name)
                self._left_out.append(name)
            elif self._is_ready(job):
                self._fingerprints[name] = job.fingerprint(self._fingerprints[need] for need in job.needs)
                if self.states.is_finished(name, self._fingerprints[name]) and not job.missing_outputs():
                    self._waiting.remove(name)
        ready = [name for name in self._waiting if self._is_ready(self.jobs[name])]
        for name in sorted(ready, key=lambda name: -self._rank[name])[: self.workers - len(self._running)]:
            self._start(self.jobs[name])

    def _is_ready(self, job: Job) -> bool:
        return not any(need in self._waiting or need in self._running for need in job.needs)

    def _start(self, job: Job) -> None:
        goes_on = self.states.begin(job.name, self._fingerprints[job.name])
        command = job.command
        if goes_on and job.resume:
            command += job.resume
        else:
            self._log(job.name).unlink(missing_ok=True)
            if job.folder is not None:
                shutil.rmtree(job.folder, ignore_errors=True)
        self._waiting.remove(job.name)
        self.display.say(f'{job.name}: {"goes on" if goes_on and job.resume else "starts"}')
        worker = min(set(range(self.workers)) - {run.worker for run in self._running.values()})
        env = self.env
        if self.devices:
            env = {**env, 'CUDA_VISIBLE_DEVICES': self.devices[worker % len(self.devices)]}
        process = start(command, self._log(job.name), env, self.fork)
        self._running[job.name] = _Run(process, time.monotonic(), worker)

    def _collect(self) -> None:
        for name, run in list(self._running.items()):
            status = run.process.poll()
            if status is None:
                continue
            del self._running[name]
            missing = self.jobs[name].missing_outputs() if status == 0 else []
            seconds = time.monotonic() - run.started
            self.states.add_time(name, seconds, finished=status == 0 and not missing)
            if status == 0 and not missing:
                self._estimator.learn(name, seconds)
                done = len(self.jobs) - len(self._waiting) - len(self._running)
                self.display.say(f'{name}: done in {duration(seconds)} [{done} of {len(self.jobs)}]', 'green')
            else:
                why = f'did not write {missing[0]}' if missing else f'ended with exit status {status}'
                self._fail(name, why, goes_on=status < 0 or status == _STOPPED)

    def _fail(self, name: str, why: str, goes_on: bool) -> None:
        self._failed.append(name)
        # What was killed has left whole checkpoints; what failed by itself may have left anything, and begins anew.
        if not goes_on:
            self.states.forget(name)
        self.display.say(f'{name}: FAILED: it {why}; the end of {self._log(name)}:', 'bold red')
        for line in tail(self._log(name)):
            self.display.say(f'    {line[:200]}')

    def _interrupt(self) -> None:
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)  # a second Ctrl-C must not leave jobs behind
        stop([run.process for run in self._running.values()])
        for name, run in self._running.items():
            self.states.add_time(name, time.monotonic() - run.started, finished=False)
        if self._running:
            self.display.say(f'stopped: {", ".join(self._running)}; the same command goes on from here')
        self._running.clear()

    def _status(self, elapsed: float) -> Status:
        now = time.monotonic()
        running = []
        for name, run in self._running.items():
            took = now - run.started
            fraction = read_fraction(self._log(name))
            eta = read_eta(self._log(name)) if fraction is None else None
            left = self._estimator.remaining(name, took, fraction) if eta is None else eta
            running.append(Running(name, took, left))
        remaining = {job.name: job.remaining for job in running}
        remaining |= {name: self._estimator.whole(name) for name in self._waiting}
        left = makespan(self.jobs, remaining, list(self._running), self.workers)
        return Status(len(self.jobs) - len(remaining), len(self.jobs), elapsed, left, tuple(running))

    def _log(self, name: str) -> Path:
        return self.logs / f'{name}.log'


def _usable_cores() -> int:
    # macOS has no affinity
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, and Ctrl-C work where it came in ignored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # nohup ignores SIGHUP so that jobs outlive the terminal: leave that as it is.
    signs = [s for s in _INTERRUPTING if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
    before = {sign: signal.signal(sign, interrupt) for sign in signs}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def in_order(jobs: Sequence[Job]) -> dict[str, Job]:
    """Return the jobs by name, each after those that it needs.

    Raises:
        JobError: two jobs of one name, a need that is no job, or jobs that wait for each other.
    """
    by_name = {job.name: job for job in jobs}
    if len(by_name) < len(jobs):
        names = [job.name for job in jobs]
        raise JobError(f'several jobs are called {sorted({name for name in names if names.count(name) > 1})}')
    for job in jobs:
        unknown = [need for need in job.needs if need not in by_name]
        if unknown:
            raise JobError(f"job '{job.name}' needs {unknown}, which are no jobs; there are {sorted(by_name)}")
    try:
        order = TopologicalSorter({job.name: job.needs for job in jobs}).static_order()
        return {name: by_name[name] for name in order}
    except CycleError as error:
        raise JobError(f'jobs wait for each other: {" -> ".join(error.args[1])}') from error


def ranks(jobs: Mapping[str, Job]) -> dict[str, float]:
    """Return the seconds from each job's start to the end of the longest chain that begins with it.

    Starting ready jobs by falling rank keeps the critical path going.

    Args:
        jobs: as :func:`in_order` gives them.
    """
    behind = dict.fromkeys(jobs, 0.0)
    rank: dict[str, float] = {}
    for name, job in reversed(list(jobs.items())):
        rank[name] = job.seconds + behind[name]
        for need in job.needs:
            behind[need] = max(behind[need], rank[name])
    return rank


def makespan(jobs: Mapping[str, Job], remaining: Mapping[str, float], running: Collection[str], workers: int) -> float:
    """Return the seconds until all is done, by playing the schedule through.

    Args:
        jobs: as :func:`in_order` gives them.
        remaining: seconds left of every job that is not done; jobs that are not in it are done.
        running: names of those under way.
        workers: how many run at once.
    """
    rank = ranks(jobs)
    ends = [(remaining[name], name) for name in running]
    heapq.heapify(ends)
    waiting = {name for name in remaining if name not in running}
    open_jobs, now = set(remaining), 0.0
    while open_jobs:
        ready = [name for name in waiting if not open_jobs.intersection(jobs[name].needs)]
        for name in sorted(ready, key=lambda name: -rank[name])[: max(workers - len(ends), 0)]:
            waiting.discard(name)
            heapq.heappush(ends, (now + remaining[name], name))
        now, ended = heapq.heappop(ends)
        open_jobs.discard(ended)
    return now
