"""Learning rate and length of a training that follow the number of images in a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from xlearner_mm.engine.hooks.pruning_hook import PruningHook
from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.registry import bare_name

_SPANS = ('T_max', 'step_size', 'periods', 'total_steps')
"""Settings of schedules that are numbers of steps."""
_RATES = ('eta_min', 'eta_max')
"""Settings of schedules that are learning rates."""


def is_scaled(auto_scale_lr: Mapping[str, Any] | None) -> bool:
    """Whether a config's ``auto_scale_lr`` is turned on.

    Raises:
        ConfigError: an unknown setting, or no number of images that rate and length are set for.
    """
    refuse_unknown('auto_scale_lr', auto_scale_lr or {}, ['enable', 'base_batch_size'])
    if not auto_scale_lr or not auto_scale_lr.get('enable', False):
        return False
    base = auto_scale_lr.get('base_batch_size')
    if not isinstance(base, int | float) or base <= 0:
        raise ConfigError(
            f'auto_scale_lr: enable=True needs base_batch_size, got {base!r}: the images a step, of all sources on all '
            'processes, that the learning rate and the number of steps are set for'
        )
    return True


def images_per_step(runner: Runner) -> int:
    """Return the images of a step, of all sources on all processes; accumulated steps count one by one.

    Raises:
        ConfigError: the loader has no batch size.
    """
    loader: Any = runner._train_dataloader
    size = loader.batch_size if isinstance(loader, DataLoader) else loader.get('batch_size')
    if size is None:
        raise ConfigError('auto_scale_lr: train_dataloader has no batch_size to scale by; set enable=False')
    return runner.world_size * size


def scale_length(runner: Runner) -> None:
    """Let a training that counts steps see as many images as its config's, before loop and schedules are built.

    By ``auto_scale_lr.base_batch_size`` over the images of a step here: ``max_iters``, the intervals of validations and
    of pruning, and what schedules count in steps. A warm-up keeps its number of steps. Trainings and schedules that
    count epochs need nothing, but for the least and largest rates of schedules, which follow the rate. Intervals of
    logs and checkpoints stay.

    Args:
        runner: with ``train_cfg`` and ``param_scheduler`` as settings; changed in place, its ``cfg`` is not.

    Raises:
        ConfigError: see :func:`is_scaled`; or no step is left after the warm-up.
    """
    loop: Any = runner._train_loop
    if not isinstance(loop, Mapping) or not is_scaled(runner.auto_scale_lr):
        return
    assert runner.auto_scale_lr is not None
    factor = float(runner.auto_scale_lr['base_batch_size']) / images_per_step(runner)
    scale = _Scale(factor, _accumulated(runner.optim_wrapper) / factor, loop.get('max_iters'))
    runner.param_schedulers = _scaled_schedules(runner.param_schedulers, scale)
    if 'max_iters' not in loop or factor == 1:
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


class _Scale(NamedTuple):
    """Factors on numbers of steps and on learning rates, and the config's number of steps."""

    steps: float
    rate: float
    max_iters: int | None


def _accumulated(optim_wrapper: Any) -> int:
    if isinstance(optim_wrapper, Mapping):
        return optim_wrapper.get('accumulative_counts', 1)
    return getattr(optim_wrapper, '_accumulative_counts', 1)


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


def _scaled_schedules(schedules: Any, scale: _Scale) -> Any:
    """Schedules of all, or by optimizer, with what they count in steps and their rates scaled."""
    if isinstance(schedules, Mapping) and 'type' not in schedules:
        return {name: _scaled_schedules(own, scale) for name, own in schedules.items()}
    if isinstance(schedules, Mapping):
        return _scaled_schedules([schedules], scale)[0]
    if not isinstance(schedules, list):
        return schedules
    warmup = max((schedule['end'] for schedule in schedules if _is_warmup(schedule)), default=0)
    left = None if scale.max_iters is None else _steps(scale.max_iters, scale.steps)
    if left is not None and left <= warmup and scale.steps < 1:
        raise ConfigError(
            f'auto_scale_lr leaves {left} of {scale.max_iters} steps, but the warm-up of param_scheduler takes '
            f'{warmup}: shorten it, train on fewer processes, or set auto_scale_lr.enable=False'
        )
    return [_scaled_schedule(schedule, scale, warmup) for schedule in schedules]


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


def _scaled_schedule(schedule: Any, scale: _Scale, warmup: int) -> Any:
    if not isinstance(schedule, Mapping):
        return schedule
    scaled = dict(schedule)
    for key in _RATES if 'Momentum' not in bare_name(schedule.get('type')) else ():
        if schedule.get(key) is not None:
            scaled[key] = schedule[key] * scale.rate
    return scaled if schedule.get('by_epoch', True) else {**scaled, **_steps_of(schedule, scale.steps, warmup)}


def _steps_of(schedule: Mapping[str, Any], factor: float, warmup: int) -> dict[str, Any]:
    """What a schedule counts in steps, scaled."""

    def moved(step: int) -> int:
        return step if step <= warmup else max(warmup + 1, round(step * factor))

    scaled: dict[str, Any] = {key: moved(schedule[key]) for key in ('begin', 'end') if key in schedule}
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
