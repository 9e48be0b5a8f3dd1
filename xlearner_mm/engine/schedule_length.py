"""Schedules of a training, and whether they are as long as it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mmengine.runner import Runner

_WARM_UPS = ('ConstantParamScheduler', 'LinearParamScheduler', 'QuadraticWarmupParamScheduler')
"""Schedules after which a constant rate is meant."""
_OPEN = 1 << 30
_TOLERANCE = 0.01


def schedules_of(runner: Runner) -> Iterator[tuple[str, Any]]:
    """Return a runner's built schedules, each with its place in a config."""
    schedules: Any = runner.param_schedulers or []
    for name, members in schedules.items() if isinstance(schedules, dict) else [('', schedules)]:
        for number, schedule in enumerate(members):
            yield f'param_scheduler{f".{name}" if name else ""}[{number}]', schedule


def schedule_notes(runner: Runner) -> Iterator[str]:
    """Say which schedules end before or after the training, or never begin.

    Args:
        runner: with loop and schedules built.
    """
    found = list(schedules_of(runner))
    for place, schedule in found:
        yield from _notes(place, schedule, *_length(runner, schedule))

    def owner(entry: tuple[str, Any]) -> tuple[str, str]:
        return entry[0].split('[')[0], entry[1].param_name

    for (place, parameter), members in groupby(sorted(found, key=owner), owner):
        schedules = [schedule for _, schedule in members]
        last = max(schedules, key=lambda schedule: schedule.end)
        length, unit = _length(runner, last)
        kinds = {kind.__name__ for kind in type(last).__mro__}
        if last.end < length and not kinds & set(_WARM_UPS):
            yield f'{place}: {parameter} is constant from {unit} {last.end} on, while the training goes on to {length}'


def _length(runner: Runner, schedule: Any) -> tuple[int, str]:
    return (runner.max_epochs, 'epoch') if schedule.by_epoch else (runner.max_iters, 'iteration')


def _notes(place: str, schedule: Any, length: int, unit: str) -> Iterator[str]:
    named = f'{place}: {type(schedule).__name__}'
    if schedule.begin >= length:
        yield f'{named} begins at {unit} {schedule.begin}, after the end of the training at {length}'
    elif length < schedule.end < _OPEN:
        yield f'{named} goes on to {unit} {schedule.end}, but the training ends at {length}'
    late = sorted(step for step in getattr(schedule, 'milestones', ()) if step >= length)
    if late:
        yield f'{named}: milestones {late} are not before the end of the training at {unit} {length}'
    half_wave, span = getattr(schedule, 'T_max', None), schedule.end - schedule.begin
    if half_wave is not None and schedule.end < _OPEN and abs(half_wave - span) > _TOLERANCE * span:
        result = 'rises again' if half_wave < span else 'does not reach its end'
        yield f'{named}: T_max={half_wave}, but it lasts {span} {unit}s (end - begin): {schedule.param_name} {result}'
