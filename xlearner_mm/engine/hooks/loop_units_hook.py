"""Epochs and iterations, compared between loop, sampler, schedules, hooks and validation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import HOOKS

_ENDLESS = ('MultiSourceSampler', 'InfiniteSampler', 'GroupMultiSourceSampler')
"""Samplers without end, unless they are given ``steps_per_epoch``: ours, MMEngine's and mmdet's."""
_EPOCH_SETTINGS = {
    'PipelineSwitchHook': 'switch_epoch',
    'YOLOXModeSwitchHook': 'num_last_epochs',
    'SwitchRecipeHook': 'schedule',
    'WarmupParamHook': 'warmup_epochs',
    'SwAVHook': 'epoch_queue_starts',
    'SetEpochInfoHook': '',
}
"""Stock hooks that count epochs, and the setting that does."""
_WARM_UPS = ('ConstantParamScheduler', 'LinearParamScheduler', 'QuadraticWarmupParamScheduler')
"""Schedules that a constant rate follows on purpose."""
_OFTEN = 100
_SHORT = 10
_OPEN = 1 << 30
_TOLERANCE = 0.01


@HOOKS.register_module()
class LoopUnitsHook(Hook):
    """Compare the units of loop, sampler, schedules, hooks and validation before the first step.

    An iteration-based loop is a single epoch, so that settings in epochs have no effect in it. Doubtful settings (a
    schedule that ends early, a validation after every step) are warnings.

    Raises:
        ConfigError: settings without effect, or an epoch without end; names the setting.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Check once."""
        for note in check_units(runner):
            runner.logger.warning(note)


def check_units(runner: Runner) -> list[str]:
    """Refuse settings in units that a training's loop does not count, and return warnings.

    Args:
        runner: with loops and schedules built. Loops that do not derive from MMEngine's two are not checked.

    Raises:
        ConfigError: settings without effect; names the setting.
    """
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        faults, length, unit = [*_endless(loop), *_in_epochs(runner)], loop.max_epochs, 'epochs'
    elif isinstance(loop, IterBasedTrainLoop):
        faults, length, unit = [*_in_iterations(runner)], loop.max_iters, 'iterations'
    else:
        return []
    for fault in [*faults, *_never(runner, length, unit)]:
        raise ConfigError(fault)
    return [*_validation_notes(runner, length, unit), *_hook_notes(runner, unit), *schedule_notes(runner)]


def _endless(loop: EpochBasedTrainLoop) -> Iterator[str]:
    for part in ('sampler', 'batch_sampler'):
        sampler = getattr(loop.dataloader, part, None)
        kinds = {kind.__name__ for kind in type(sampler).__mro__}
        if kinds & set(_ENDLESS) and getattr(sampler, 'steps_per_epoch', None) is None:
            ends = (
                'train_dataloader.sampler.steps_per_epoch'
                if hasattr(sampler, 'steps_per_epoch')
                else "sampler=dict(type='DefaultSampler', shuffle=True)"
            )
            yield (
                f'train_cfg: {type(loop).__name__} would train its first epoch forever, since {type(sampler).__name__} '
                f"has no end: set {ends}, or type='IterBasedTrainLoop' with max_iters"
            )


def _in_epochs(runner: Runner) -> Iterator[str]:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch and (hook.interval > 0 or hook.save_last):
            yield (
                f'default_hooks.checkpoint: by_epoch=False saves within epochs of {type(runner.train_loop).__name__}, '
                'which cannot be resumed: set by_epoch=True, and interval in epochs'
            )


def _in_iterations(runner: Runner) -> Iterator[str]:
    loop: Any = runner.train_loop
    name = type(loop).__name__
    if getattr(loop.dataloader.sampler, 'steps_per_epoch', None) is not None:
        yield (
            f'train_dataloader.sampler.steps_per_epoch is for epochs, but train_cfg is an {name}: remove it, or set '
            "type='EpochBasedTrainLoop' with max_epochs"
        )
    for place, schedule in schedules_of(runner):
        # A schedule that reads metrics is stepped by validations.
        if schedule.by_epoch and not (getattr(schedule, 'need_val_args', False) and schedule.begin == 0):
            yield (
                f'{place}: {type(schedule).__name__} counts epochs (by_epoch=True, the default), which {name} does '
                f'not have: {schedule.param_name} would never change; set by_epoch=False with begin, end and '
                'milestones in iterations'
            )
    for hook in runner.hooks:
        yield from _epochs_of(hook, name)


def _epochs_of(hook: Hook, loop: str) -> Iterator[str]:
    kind = type(hook).__name__
    if isinstance(hook, CheckpointHook):
        if hook.by_epoch and hook.interval > 0:
            yield (
                f'default_hooks.checkpoint: by_epoch=True (the default) with interval={hook.interval} counts epochs, '
                f'which {loop} does not have: nothing would be saved before the end; set by_epoch=False, and interval '
                'in iterations'
            )
    elif isinstance(hook, EMAHook):
        if hook.begin_epoch > 1:
            yield f'{kind}: begin_epoch={hook.begin_epoch} never comes in {loop}; set begin_iter'
    elif kind in _EPOCH_SETTINGS:
        setting = _EPOCH_SETTINGS[kind]
        of = f'{setting} of ' if setting else ''
        yield f'{of}{kind} counts epochs, which {loop} does not have: use EpochBasedTrainLoop, or remove the hook'
    elif getattr(hook, 'by_epoch', False):
        yield f'{kind}: by_epoch=True counts epochs, which {loop} does not have: set by_epoch=False'


def _never(runner: Runner, length: int, unit: str) -> Iterator[str]:
    loop: Any = runner.train_loop
    validates = runner._val_loop is not None
    if min(loop.val_interval, *loop.dynamic_intervals) < 1:
        yield f'train_cfg.val_interval={loop.val_interval} must be at least 1, also in dynamic_intervals'
    if validates and loop.val_begin > length:
        yield f'train_cfg.val_begin={loop.val_begin}: none of the {length} {unit} is validated; lower it'
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            by_epoch = hook.enabled_by_epoch
            name, most = ('begin_epoch', runner.max_epochs) if by_epoch else ('begin_iter', runner.max_iters)
            begin = getattr(hook, name)
            if begin > most:
                yield f'{type(hook).__name__}: {name}={begin} is after the end of the training, {most}; lower it'
        elif isinstance(hook, EarlyStoppingHook) and not validates:
            yield 'EarlyStoppingHook reads validations, which this training lacks: remove it, or set val_cfg'
    for place, schedule in schedules_of(runner):
        if getattr(schedule, 'need_val_args', False) and not validates:
            yield f'{place}: {type(schedule).__name__} reads validations, which this training lacks: set val_cfg'


def _validation_notes(runner: Runner, length: int, unit: str) -> Iterator[str]:
    loop: Any = runner.train_loop
    if runner._val_loop is None:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.save_best:
                yield f'default_hooks.checkpoint: save_best={hook.save_best} without effect: no validation'
        return
    milestones = list(zip(loop.dynamic_milestones, loop.dynamic_intervals, strict=True))
    for (start, interval), end in zip(milestones, [*loop.dynamic_milestones[1:], length], strict=True):
        where = 'train_cfg.val_interval' if start == 0 else f'train_cfg.dynamic_intervals, ({start}, {interval})'
        count = (min(end, length) - start) // interval
        if start >= length:
            yield f'{where}: begins after the last of {length} {unit}'
        elif isinstance(loop, IterBasedTrainLoop) and interval <= _SHORT and count > _OFTEN:
            yield f'{where}: validates {count:,} times, since {interval} counts iterations, not epochs'


def _hook_notes(runner: Runner, unit: str) -> Iterator[str]:
    by_epoch = unit == 'epochs'
    for hook in runner.hooks:
        if type(hook).__name__ == 'PreciseBNHook' and not by_epoch and hook.interval <= _SHORT:
            yield f'PreciseBNHook: interval={hook.interval} counts iterations here'
        if isinstance(hook, LoggerHook) and hook.log_metric_by_epoch and not by_epoch:
            yield 'default_hooks.logger: log_metric_by_epoch=True draws all validations at step 0; set it to False'
    if runner.log_processor.by_epoch != by_epoch:
        yield f'log_processor: by_epoch={not by_epoch} in a training of {unit}; set it to {by_epoch}'


def schedules_of(runner: Runner) -> Iterator[tuple[str, Any]]:
    """Yield a runner's schedules, each with its place in a config."""
    schedules: Any = runner.param_schedulers or []
    for name, members in schedules.items() if isinstance(schedules, dict) else [('', schedules)]:
        for number, schedule in enumerate(members):
            yield f'param_scheduler{f".{name}" if name else ""}[{number}]', schedule


def schedule_notes(runner: Runner) -> Iterator[str]:
    """Yield warnings of schedules that end before or after the training, or never begin.

    Args:
        runner: with loop and schedules built.
    """
    found = list(schedules_of(runner))
    for place, schedule in found:
        yield from _notes(place, schedule, *_length(runner, schedule))

    def owner(entry: tuple[str, Any]) -> tuple[str, str]:
        return entry[0].split('[')[0], entry[1].param_name

    for (place, parameter), members in groupby(sorted(found, key=owner), owner):
        last = max((schedule for _, schedule in members), key=lambda schedule: schedule.end)
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
