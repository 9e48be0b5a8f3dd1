"""Progress of jobs: the file that a job writes, and the shares and times left that follow from it."""

from __future__ import annotations

import heapq
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.pipeline.job import Job, ranks

PROGRESS_FILE = 'progress.json'
_MOST = 0.99  # what is shown of a running job: after its last step it may still validate and save
_ENOUGH = (5, 10.0)  # steps or seconds from which on the measured speed counts, not the declared one
_FOLLOW = 30.0  # seconds within which the shown time left follows an estimate
_DOUBLE = 60.0  # seconds in which it at most doubles


@dataclass(frozen=True)
class Progress:
    """Content of a progress file.

    Args:
        step: steps done, those before a resume included.
        steps: steps of the whole job.
        first: step from which on ``seconds`` are measured: this run's start, or its first step, which is slower.
        seconds: time from ``first`` to ``step``.
    """

    step: int
    steps: int
    first: int
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> Progress | None:
        """Return the progress in a work directory; None without a file, or with a damaged one."""
        try:
            found = cls(**json.loads((folder / PROGRESS_FILE).read_text(encoding='utf-8')))
            integers = all(type(count) is int for count in (found.first, found.step, found.steps))
            in_order = 0 <= found.first <= found.step <= found.steps > 0 and 0 <= found.seconds < math.inf
            return found if integers and in_order else None
        except (OSError, ValueError, TypeError):
            return None


class ProgressFile:
    """Writer of a job's progress, at most once a second.

    Args:
        folder: work directory of the job.
        steps: steps of the whole job.
        step: steps done before this run. Defaults to 0.
    """

    def __init__(self, folder: Path, steps: int, step: int = 0) -> None:
        self.folder, self.steps, self.first = folder, steps, step
        self._began = self._written_at = time.monotonic()
        self._measures = False
        self._write(step, self._began)

    def update(self, step: int) -> None:
        """Note that so many steps are done; the last one is always written."""
        now = time.monotonic()
        if not self._measures:
            self._measures, self.first, self._began = True, step, now
        if step >= self.steps or now - self._written_at >= 1:
            self._write(step, now)

    def _write(self, step: int, now: float) -> None:
        self._written_at = now
        progress = Progress(min(step, self.steps), self.steps, min(self.first, self.steps), now - self._began)
        atomic_write_text(self.folder / PROGRESS_FILE, json.dumps(asdict(progress)), durable=False)


@dataclass(frozen=True)
class Running:
    """A running job."""

    name: str
    share: float  # that is done; below 1, and never falls
    remaining: float  # seconds


@dataclass(frozen=True)
class Status:
    """State of all jobs."""

    done: int  # jobs that will not run (again)
    total: int
    share: float  # of all work that is done; never falls
    elapsed: float  # seconds since the start of this run
    remaining: float  # seconds
    running: tuple[Running, ...]


class Estimator:
    """Shares done and time left of all jobs.

    A job with a folder is as far as its progress file says; others are as far as their declared seconds say. Jobs that
    have not started take their declared seconds, times the slowness measured so far. The times shown follow the
    estimates within half a minute and at most double in a minute, whatever the estimates do.

    Args:
        jobs: as :func:`~xlearner_mm.pipeline.job.in_order` returns them.
        workers: number of jobs that run at once.
    """

    def __init__(self, jobs: Mapping[str, Job], workers: int) -> None:
        self.jobs, self.workers = jobs, workers
        # A minute as declared: the first job that ends must not decide alone.
        self._measured = self._declared = 60.0
        self._shares: dict[str, float] = {}
        self._progress: dict[str, Progress] = {}
        self._ended: dict[str, float] = {}  # job -> seconds after which its last step was done
        self._shown: dict[str, tuple[float, float]] = {}

    def finish(self, name: str, seconds: float) -> None:
        """Learn from the time that a job has taken, unless it found its work done already."""
        progress = self._progress.pop(name, None)
        resumed = progress.first / progress.steps if progress and progress.step > progress.first else 0.0
        declared = self.jobs[name].seconds * (1 - resumed)
        if seconds >= 0.1 * declared:
            self._measured += seconds
            self._declared += declared

    def whole(self, name: str) -> float:
        """Return the seconds that a job takes that has not started, by the speed of those that have."""
        measured, declared = self._measured, self._declared
        for running, progress in self._progress.items():
            measured += progress.seconds
            job = self.jobs[running]
            declared += (job.seconds - job.after) * (progress.step - progress.first) / progress.steps
        return self.jobs[name].seconds * measured / declared

    def status(self, elapsed: float, running: Mapping[str, float], waiting: Collection[str]) -> Status:
        """Return the state of all jobs.

        Args:
            elapsed: seconds since the start of this run.
            running: running job -> seconds since it was started.
            waiting: names of the jobs that have not started.
        """
        for name, seconds in running.items():
            folder = self.jobs[name].folder
            progress = Progress.read(folder) if folder else None
            if progress:
                self._progress[name] = progress
                if progress.step >= progress.steps:
                    self._ended.setdefault(name, seconds)
        left = {name: self._left(name, seconds) for name, seconds in running.items()}
        for name, seconds in running.items():
            share = self._share(name, seconds, seconds / (seconds + left[name]))
            self._shares[name] = min(max(share, self._shares.get(name, 0.0)), _MOST)
        remaining = left | {name: self.whole(name) for name in waiting}
        total = makespan(self.jobs, remaining, list(running), self.workers)
        work = sum(job.seconds for job in self.jobs.values()) or 1.0
        undone = sum(self.jobs[name].seconds * (1 - self._shares.get(name, 0.0)) for name in remaining)
        return Status(
            len(self.jobs) - len(remaining),
            len(self.jobs),
            1 - undone / work,
            elapsed,
            self._smooth('', total, elapsed),
            tuple(Running(name, self._shares[name], self._smooth(name, left[name], elapsed)) for name in running),
        )

    def _share(self, name: str, elapsed: float, by_time: float) -> float:
        job, progress = self.jobs[name], self._progress.get(name)
        if job.folder is None:
            return by_time
        if progress is None:
            return 0.0
        after = job.after / job.seconds if job.after else 0.0
        ended = min(1.0, (elapsed - self._ended[name]) / job.after) if after and name in self._ended else 0.0
        return (1 - after) * progress.step / progress.steps + after * ended

    def _left(self, name: str, elapsed: float) -> float:
        job, progress = self.jobs[name], self._progress.get(name)
        if progress is None:
            return _at_least(self.whole(name) - elapsed, elapsed)
        after = job.after * self.whole(name) / job.seconds if job.after else 0.0
        if name in self._ended:
            since = elapsed - self._ended[name]
            return _at_least(after - since, since)
        steps = progress.step - progress.first
        measured = steps > 0 and (steps >= _ENOUGH[0] or progress.seconds >= _ENOUGH[1])
        seconds = progress.seconds / steps if measured else (self.whole(name) - after) / progress.steps
        return seconds * (progress.steps - progress.step) + max(after, 1.0)

    def _smooth(self, name: str, estimate: float, now: float) -> float:
        before, at = self._shown.get(name, (estimate, now))
        ahead = max(before - (now - at), 1.0)
        followed = ahead + (estimate - ahead) * -math.expm1((at - now) / _FOLLOW)
        # Of what was shown, not of what is ahead: a short time would shrink faster than it may grow.
        shown = min(followed, max(before, 1.0) * 2 ** ((now - at) / _DOUBLE))
        self._shown[name] = shown, now
        return shown


def _at_least(left: float, elapsed: float) -> float:
    """Return the seconds left: what takes longer than estimated takes somewhat longer still."""
    return max(left, 0.1 * elapsed, 1.0)


def makespan(jobs: Mapping[str, Job], remaining: Mapping[str, float], running: Collection[str], workers: int) -> float:
    """Return the seconds until all jobs are done, by simulating the schedule.

    Args:
        jobs: as :func:`~xlearner_mm.pipeline.job.in_order` returns them.
        remaining: seconds left of every unfinished job.
        running: names of the running jobs.
        workers: number of jobs that run at once.
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
