"""Lengths of the stages: asked for, by the data, or within a budget of time."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining.choices import Device

OTHER_JOBS = {'check': 20.0, 'export': 5.0, 'features': 15.0, 'curves': 10.0}
"""Job that trains nothing -> its seconds, roughly."""
_EPOCHS = {'cuda': 100, 'cpu': 10}
_LEAST_STEPS = {'cuda': 2000, 'cpu': 500}
_SPARE = 0.95  # of the time for the stages: what the estimates miss
_START = 15.0  # seconds of a training before its first step
_SECONDS = {'s': 1, 'm': 60, 'h': 3600, 'd': 86400}


@dataclass(frozen=True)
class Lengths:
    """Steps of the stages, and the reason for them."""

    expansion: int
    squeeze: int
    reason: str


def choose_lengths(
    images: Mapping[str, int],
    batch_sizes: Mapping[str, int],
    device: Device,
    epochs: float | None = None,
    steps: int | None = None,
) -> Lengths:
    """Return the steps of both stages.

    Args:
        images: source -> images for training.
        batch_sizes: source -> images in every step.
        device: that trains.
        epochs: of the source that needs most steps for one. Defaults to None: by the device.
        steps: of the expansion. Defaults to None.
    """
    if steps is not None:
        return Lengths(steps, squeeze_steps(steps), 'as asked for')
    longest = max(images, key=lambda name: images[name] / batch_sizes[name])
    an_epoch = images[longest] / batch_sizes[longest]
    if epochs is not None:
        asked = max(2, round(epochs * an_epoch))  # one of the warm-up, and one after it
        return Lengths(asked, squeeze_steps(asked), f'{epochs:g} epoch(s) of `{longest}`, as asked for')
    wanted, least = round(_EPOCHS[device.kind] * an_epoch), _LEAST_STEPS[device.kind]
    reason = f'{_EPOCHS[device.kind]} epochs of `{longest}` on a {device.title}, and at least {least:,} steps'
    return Lengths(max(wanted, least), squeeze_steps(max(wanted, least)), reason)


def squeeze_steps(expansion: int) -> int:
    """Return the steps of the squeeze: half as many again as a short expansion's, 40% of a long one's as in the slides.

    In docs/squeeze_trials.md, short squeezes kept more the longer they were.
    """
    return max(round(0.4 * expansion), min(round(1.5 * expansion), 3000))


def validations(steps: int) -> int:
    """Return how often a stage of so many steps validates."""
    return 1 if steps < 1000 else 5


@dataclass(frozen=True)
class Speed:
    """Measured seconds of the expansion.

    Args:
        step: of a training step.
        validation: of one validation on all sources.
    """

    step: float
    validation: float


@dataclass(frozen=True)
class Costs:
    """Seconds that the stages take.

    Args:
        expansion: of a step of the expansion.
        squeeze: of a step of the squeeze; 0 without one.
        validation: of one validation on all sources: the expansion's, and an upper bound for the student's.
    """

    expansion: float
    squeeze: float
    validation: float

    def of_expansion(self, steps: int) -> float:
        """Return the seconds of the whole stage."""
        return _START + steps * self.expansion + validations(steps) * self.validation

    def of_squeeze(self, steps: int) -> float:
        """Return the seconds of the whole stage, which scores its teachers first; 0 without one."""
        if not self.squeeze:
            return 0.0
        return _START + steps * self.squeeze + (1 + validations(steps)) * self.validation


def lengths_within(budget: float, spent: float, costs: Costs) -> Lengths:
    """Return the most steps of both stages within a time.

    Args:
        budget: seconds for everything.
        spent: seconds of it that are over.
        costs: of the stages.

    Raises:
        ConfigError: not even ten steps fit.
    """

    def whole(steps: int) -> float:
        return costs.of_expansion(steps) + costs.of_squeeze(squeeze_steps(steps))

    others = sum(OTHER_JOBS.values())
    left = _SPARE * (budget - spent - others)
    most = max(0, math.ceil(left / costs.expansion)) + 1
    steps = bisect.bisect_right(range(most), left, key=whole) - 1
    if steps < 10:
        raise ConfigError(
            f'budget: {budget:g} s are too few for ten steps of {costs.expansion:.2g} s (measured), with starts, '
            f'validations and pictures; give at least {math.ceil(spent + others + whole(10) / _SPARE)}s'
        )
    reason = (
        f'what {budget:g} s allow after {spent:.0f} s of planning, at {costs.expansion:.3g} s a step and '
        f'{costs.validation:.2g} s a validation, measured'
        + (f', and {costs.squeeze:.3g} s a step of the squeeze, by its FLOPs' if costs.squeeze else '')
        + f'; {others:.0f} s are for check, export and pictures, and {1 - _SPARE:.0%} of the rest is spare'
    )
    return Lengths(steps, squeeze_steps(steps), reason)


def parse_budget(text: str) -> float:
    """Return the seconds of a time such as ``'8h'``, ``'90m'`` or ``'1.5d'``.

    Raises:
        ConfigError: no such time.
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)([smhd])', str(text).strip())
    if found is None or not float(found[1]):
        raise ConfigError(f"budget must be a number above 0 with s, m, h or d behind it, such as '8h', got {text!r}")
    return float(found[1]) * _SECONDS[found[2]]
