"""Runner of jobs."""

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

from filelock import FileLock, Timeout

from xlearner_mm.errors import ConfigError
from xlearner_mm.machine import usable_cores
from xlearner_mm.pipeline.display import Display, duration
from xlearner_mm.pipeline.job import Job, in_order, ranks
from xlearner_mm.pipeline.process import Process, start, stop, tail
from xlearner_mm.pipeline.progress import PROGRESS_FILE, Estimator
from xlearner_mm.pipeline.state import JobStates

INTERRUPTED = 130  # exit status after Ctrl-C
_RESUMABLE = os.EX_TEMPFAIL  # exit status of a training that was interrupted by SIGTERM


@dataclass
class Outcome:
    """Outcome of a run.

    Args:
        status: 0, 1 if a job failed, 130 after an interruption.
        seconds: job -> its run time in this and earlier runs.
        failed: names of failed jobs. Defaults to none.
        left_out: names of jobs that needed them. Defaults to none.
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
    """Run jobs after those that they need, at most ``workers`` at once.

    Later runs skip jobs that have succeeded, until their command, an input, or a job that they need changes.

    Args:
        jobs: in any order.
        work_dir: gets ``jobs.json``, the record of finished jobs, and ``logs/<job>.log``.
        workers: number of jobs that run at once. Defaults to 2.
        fork: run Python scripts in forks of this process, which do not import again what it has imported. Defaults to
            False.
        display: shows the progress. Defaults to None: on standard output.
        poll: seconds between two looks at the running jobs. Defaults to 0.2.
        devices: GPUs as named in ``CUDA_VISIBLE_DEVICES``, one for each worker in turn. Defaults to none: all jobs see
            what this process sees.
        keep_order: start ready jobs in the given order. Defaults to False: those with the longest chain behind first.
        threads: of each job, as ``OMP_NUM_THREADS``. Defaults to None: its worker's share of the cores.

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
        threads: int | None = None,
        keep_order: bool = False,
    ) -> None:
        self.jobs = in_order(jobs)
        self.logs = work_dir / 'logs'
        self.states = JobStates(work_dir / 'jobs.json')
        self.workers, self.fork, self.poll, self.devices = workers, fork, poll, tuple(devices)
        self.display = display or Display()
        self.env = {'OMP_NUM_THREADS': str(threads or max(1, usable_cores() // workers))}
        self._rank = {job.name: -place for place, job in enumerate(jobs)} if keep_order else ranks(self.jobs)
        self._estimator = Estimator(self.jobs, workers)
        self._fingerprints: dict[str, str] = {}
        self._waiting = list(self.jobs)
        self._running: dict[str, _Run] = {}
        self._failed: list[str] = []
        self._left_out: list[str] = []

    def run(self, fresh: bool = False) -> Outcome:
        """Run all unfinished jobs.

        Args:
            fresh: run finished ones again, from the beginning. Defaults to False.

        Raises:
            ConfigError: the folder of a job that has not run holds files, which starting it would delete; or another
                runner is at work in this one's folder.
        """
        with _alone(self.states.path):
            self.states = JobStates(self.states.path)
            self._refuse_unknown_folders()
            for name in self.states.records.keys() & self.jobs if fresh else ():
                self.states.start_over(name)
            return self._run()

    def _run(self) -> Outcome:
        began = time.monotonic()
        with _interruptible():
            try:
                with self.display:
                    self._start_ready()
                    while self._running:
                        now = time.monotonic()
                        running = {name: now - run.started for name, run in self._running.items()}
                        self.display.update(self._estimator.status(now - began, running, self._waiting))
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
        records = self.states.records
        seconds = {name: records[name].seconds if name in records else 0.0 for name in self.jobs}
        return Outcome(status, seconds, self._failed, self._left_out)

    def _refuse_unknown_folders(self) -> None:
        for job in self.jobs.values():
            if job.folder is None or job.name in self.states.records or not job.folder.is_dir():
                continue
            if found := sorted(path.name for path in job.folder.iterdir()):
                raise ConfigError(
                    f"job '{job.name}': its folder {job.folder} holds {found[0]}, of which {self.states.path} has no "
                    'record; starting would delete it: move the folder away, or delete it'
                )

    def _start_ready(self) -> None:
        """Start ready jobs, after dropping those that are finished or lack a job that they need."""
        for name in list(self._waiting):  # in order: a job that is dropped makes later ones ready
            job = self.jobs[name]
            if any(need in self._failed or need in self._left_out for need in job.needs):
                self._waiting.remove(name)
                self._left_out.append(name)
            elif self._is_ready(job):
                self._fingerprints[name] = job.fingerprint(self._fingerprints[need] for need in job.needs)
                finished = self.states.is_finished(name, self._fingerprints[name])
                if finished and not job.repeat and not job.missing_outputs():
                    self._waiting.remove(name)
        ready = [name for name in self._waiting if self._is_ready(self.jobs[name])]
        for name in sorted(ready, key=lambda name: -self._rank[name])[: self.workers - len(self._running)]:
            self._start(self.jobs[name])

    def _is_ready(self, job: Job) -> bool:
        return not any(need in self._waiting or need in self._running for need in job.needs)

    def _start(self, job: Job) -> None:
        resumed = self.states.begin(job.name, self._fingerprints[job.name]) and bool(job.resume)
        if not resumed:
            self._log(job.name).unlink(missing_ok=True)
            if job.folder is not None:
                shutil.rmtree(job.folder, ignore_errors=True)
        elif job.folder is not None:
            (job.folder / PROGRESS_FILE).unlink(missing_ok=True)  # of the interrupted run
        self._waiting.remove(job.name)
        self.display.say(f'{job.name}: {"resumes" if resumed else "starts"}')
        worker = min(set(range(self.workers)) - {run.worker for run in self._running.values()})
        device = {'CUDA_VISIBLE_DEVICES': self.devices[worker % len(self.devices)]} if self.devices else {}
        command = job.command + (job.resume if resumed else ())
        process = start(command, self._log(job.name), self.env | device, self.fork)
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
                continue
            self._failed.append(name)
            if status >= 0 and status != _RESUMABLE and not self.jobs[name].has_saved():
                self.states.start_over(name)
            reason = f'{missing[0]} is missing' if missing else f'exit status {status}'
            self.display.say(f'{name}: FAILED: {reason}; the end of {self._log(name)}:', 'bold red')
            for line in tail(self._log(name)):
                self.display.say(f'    {line[:200]}')

    def _interrupt(self) -> None:
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, signal.SIG_IGN)  # a second Ctrl-C must not leave jobs behind
        stop([run.process for run in self._running.values()])
        for name, run in self._running.items():
            self.states.add_time(name, time.monotonic() - run.started, finished=False)
        if self._running:
            self.display.say(f'interrupted: {", ".join(self._running)}; the same command continues from here')
        self._running.clear()

    def _log(self, name: str) -> Path:
        return self.logs / f'{name}.log'


@contextmanager
def _alone(records: Path) -> Iterator[None]:
    """Hold a file of records, which two runners would overwrite for each other."""
    records.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f'{records}.lock', timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f'{records.parent}: another call is at work in this folder: wait for its end, or give another folder'
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt like Ctrl-C, and Ctrl-C even where it is ignored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    # nohup ignores SIGHUP so that jobs outlive the terminal: do not change that.
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signs = [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
    before = {sign: signal.signal(sign, interrupt) for sign in signs}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
