"""How far jobs are, and how long they will take."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from xlearner_mm.pipeline.process import tail

# `[3/14]` of any tool, and MMEngine's `Iter(train) [ 50/400]` and `Epoch(train) [2][ 50/400]`.
_STEP = re.compile(r'(?:\w+\((?P<mode>\w+)\)\s+(?P<epoch>\[\s*\d+\])?)?\[\s*(?P<done>\d+)/(?P<all>\d+)\]')
_ETA = re.compile(r'\(train\).* eta: (?:(?P<days>\d+) days?, )?(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)')
_LINES = 200  # a long validation is logged after the last line of training


def read_fraction(log: Path) -> float | None:
    """Return how much of a job is done, from 0 to 1, or None where its log does not say.

    Args:
        log: its output; of MMEngine's loops, only training counts, and that by epochs does not say how many there are.
    """
    for line in reversed(tail(log, lines=_LINES)):
        found = _STEP.search(line)
        if found and found['mode'] in (None, 'train'):
            return None if found['epoch'] else int(found['done']) / max(int(found['all']), 1)
    return None


def read_eta(log: Path) -> float | None:
    """Return how many more seconds MMEngine expects a training to take, or None where its log does not say.

    Args:
        log: the training's output.
    """
    for line in reversed(tail(log, lines=_LINES)):
        found = _ETA.search(line)
        if found:
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return None


@dataclass
class Estimator:
    """Corrects the jobs' estimated seconds by what is measured.

    Args:
        expected: job -> estimated seconds.
    """

    expected: dict[str, float]
    _measured: float = 60.0  # a minute as estimated: the first job that ends must not decide alone
    _expected: float = 60.0
    _first: dict[str, tuple[float, float]] = field(default_factory=dict)

    def learn(self, name: str, seconds: float) -> None:
        """Take in how long a job has taken; one that found its work done already says nothing of the speed."""
        if seconds < 0.1 * self.expected[name]:
            return
        self._measured += seconds
        self._expected += self.expected[name]

    @property
    def slowness(self) -> float:
        """Measured over estimated seconds of the finished jobs; 1 while there are none."""
        return self._measured / self._expected

    def whole(self, name: str) -> float:
        """Return how long a job that has not started will take, in seconds."""
        return self.expected[name] * self.slowness

    def remaining(self, name: str, elapsed: float, fraction: float | None) -> float:
        """Return how much longer a running job will take, in seconds.

        The speed of a training is measured between the first and the latest iteration it has told of, so that neither
        its start-up nor what it has resumed counts.

        Args:
            name: the job.
            elapsed: seconds since it was started.
            fraction: how much of it is done, from 0 to 1; None where it does not say.
        """
        guess = max(self.whole(name) - elapsed, 1.0)
        if fraction is None:
            return guess
        then, at = self._first.setdefault(name, (elapsed, fraction))
        if fraction <= at:
            return min(guess, self.whole(name) * (1 - fraction) + 1.0)
        return (1 - fraction) * (elapsed - then) / (fraction - at)
