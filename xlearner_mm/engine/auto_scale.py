"""Learning rate and length of a training that follow the number of images in a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from xlearner_mm.datasets.errors import SourceError, refuse_unknown
from xlearner_mm.engine.hooks.pruning_hook import PruningHook
from xlearner_mm.registry import bare_name

_SPANS = ('T_max', 'step_size', 'periods', 'total_steps')
"""Settings of schedules that are numbers of steps."""


def is_scaled(auto_scale_lr: Mapping[str, Any] | None) -> bool:
    """Whether a config's ``auto_scale_lr`` is turned on.

    Raises:
        SourceError: an unknown setting, or no number of images that rate and length are set for.
    """
    refuse_unknown('auto_scale_lr', auto_scale_lr or {}, ['enable', 'base_batch_size'])
    if not auto_scale_lr or not auto_scale_lr.get('enable', False):
        return False
    base = auto_scale_lr.get('base_batch_size')
    if not isinstance(base, int | float) or base <= 0:
        raise SourceError(
            f'auto_scale_lr: enable=True needs base_batch_size, got {base!r}: the images a step, of all sources on all '
            'processes, that the learning rate and the number of steps are set for'
        )
    return True


def images_per_step(runner: Runner) -> int:
    """Return the images of a step, of all sources on all processes; accumulated steps count one by one.

    Raises:
        SourceError: the loader has no batch size.
    """
    loader: Any = runner._train_dataloader
    size = loader.batch_size if isinstance(loader, DataLoader) else loader.get('batch_size')
    if size is None:
        raise SourceError('auto_scale_lr: train_dataloader has no batch_size to scale by; set enable=False')
    return runner.world_size * size


def scale_length(runner: Runner) -> None:
    """Let a training that counts steps see as many images as its config's, before loop and schedules are built.

    By ``auto_scale_lr.base_batch_size`` over the images of a step here: ``max_iters``, the intervals of validations and
    of pruning, and what schedules count in steps. A warm-up keeps its number of steps. Trainings and schedules that
    count epochs need nothing. Intervals of logs and checkpoints stay.

    Args:
        runner: with ``train_cfg`` and ``param_scheduler`` as settings; changed in place, its ``cfg`` is not.

    Raises:
        SourceError: see :func:`is_scaled`; or no step is left after the warm-up.
    """
    loop: Any = runner._train_loop
    if loop is None or not is_scaled(runner.auto_scale_lr):
        return
    assert runner.auto_scale_lr is not None
    factor = float(runner.auto_scale_lr['base_batch_size']) / images_per_step(runner)
    if not isinstance(loop, Mapping) or factor == 1:
        return
    runner.param_schedulers = _scaled_schedules(runner.param_schedulers, factor, loop.get('max_iters'))
    if 'max_iters' not in loop:
        return
    runner._train_loop = _scaled_loop(loop, factor)
    for hook in runner.hooks:
        if isinstance(hook, PruningHook):
            hook.interval = _steps(hook.interval, factor)
    runner.logger.info(
        f'auto_scale_lr: {images_per_step(runner)} images a step in place of '
        f'{runner.auto_scale_lr["base_batch_size"]}: {runner._train_loop["max_iters"]} steps in place of '
        f'{loop["max_iters"]}, and schedules likewise'
    )


def _steps(count: float, factor: float) -> int:
    return max(1, round(count * factor))


def _scaled_loop(loop: Mapping[str, Any], factor: float) -> dict[str, Any]:
    scaled = dict(loop)
    for key in ('max_iters', 'val_interval', 'val_begin'):
        if key in loop:
            # A validation from the first step on begins there.
            scaled[key] = loop[key] if loop[key] <= 1 else _steps(loop[key], factor)
    if loop.get('dynamic_intervals'):
        scaled['dynamic_intervals'] = [
            (_steps(begin, factor) if begin else begin, _steps(interval, factor))
            for begin, interval in loop['dynamic_intervals']
        ]
    return scaled


def _scaled_schedules(schedules: Any, factor: float, max_iters: int | None) -> Any:
    """Schedules of all, or by optimizer, with what they count in steps scaled."""
    if isinstance(schedules, Mapping) and 'type' not in schedules:
        return {name: _scaled_schedules(own, factor, max_iters) for name, own in schedules.items()}
    if isinstance(schedules, Mapping):
        return _scaled_schedules([schedules], factor, max_iters)[0]
    if not isinstance(schedules, list):
        return schedules
    warmup = max((schedule['end'] for schedule in schedules if _is_warmup(schedule)), default=0)
    left = None if max_iters is None else _steps(max_iters, factor)
    if left is not None and warmup and left <= warmup:
        raise SourceError(
            f'auto_scale_lr leaves {left} of {max_iters} steps, but the warm-up of param_scheduler takes {warmup}: '
            'shorten it, train on fewer processes, or set auto_scale_lr.enable=False'
        )
    return [_scaled_schedule(schedule, factor, warmup) for schedule in schedules]


def _is_warmup(schedule: Any) -> bool:
    """Whether a schedule raises the rate from the first step on, and counts steps."""
    if not isinstance(schedule, Mapping) or schedule.get('by_epoch', True) or schedule.get('begin', 0):
        return False
    name = bare_name(schedule.get('type'))
    rises = {
        'Linear': schedule.get('start_factor', 1 / 3) < schedule.get('end_factor', 1.0),
        'Constant': schedule.get('factor', 1 / 3) < 1,
        'Quadratic': True,
    }
    return 'end' in schedule and any(name.startswith(shape) and rising for shape, rising in rises.items())


def _scaled_schedule(schedule: Any, factor: float, warmup: int) -> Any:
    if not isinstance(schedule, Mapping) or schedule.get('by_epoch', True):
        return schedule

    def moved(step: int) -> int:
        return step if step <= warmup else max(warmup + 1, round(step * factor))

    scaled = dict(schedule)
    for key in ('begin', 'end'):
        if key in schedule:
            scaled[key] = moved(schedule[key])
    if 'milestones' in schedule:
        scaled['milestones'] = [moved(step) for step in schedule['milestones']]
    for key in _SPANS:
        value = schedule.get(key)
        if value is not None:
            several = isinstance(value, list | tuple)
            scaled[key] = [_steps(v, factor) for v in value] if several else _steps(value, factor)
    if 'end' in schedule and schedule.get('T_max') == schedule['end'] - schedule.get('begin', 0):
        # All of it, from the end of the warm-up on.
        scaled['T_max'] = scaled['end'] - scaled.get('begin', 0)
    if 'gamma' in schedule and not {'milestones', 'step_size'} & schedule.keys():
        # A factor of every step.
        scaled['gamma'] = schedule['gamma'] ** (1 / factor)
    return scaled
