"""Runs jobs in order, some at a time, and remembers what is done."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xlearner_mm.pipeline.display import Display, duration
from xlearner_mm.pipeline.job import Job, in_order, ranks
from xlearner_mm.pipeline.process import Process, start, stop, tail
from xlearner_mm.pipeline.progress import PROGRESS_FILE, Estimator, Status
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
        self._estimator = Estimator(self.jobs, workers)
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
        if job.folder is not None:
            (job.folder / PROGRESS_FILE).unlink(missing_ok=True)  # that of an earlier run
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
                self._estimator.finish(name, seconds)
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
        running = {name: now - run.started for name, run in self._running.items()}
        return self._estimator.status(elapsed, running, self._waiting)

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
