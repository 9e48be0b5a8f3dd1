"""Which job goes next, and when all will be done."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from xlearner_mm.pipeline.job import Job, JobError


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
