"""Refuse what counts epochs where the training loop counts iterations, and what never comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from xlearner_mm.engine.schedule_length import schedule_notes, schedules_of
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
"""Stock hooks that count epochs, and the setting which says when they act."""
_OFTEN = 100
_SHORT = 10


@HOOKS.register_module()
class LoopUnitsHook(Hook):
    """Compare the units of loop, sampler, schedules, hooks and validation before the first step.

    An iteration-based loop is one single epoch: what counts epochs does nothing in it until it ends. What is done at
    other times than it seems to say (a schedule that ends early, a validation after every step) is told in the log.

    Raises:
        ConfigError: what would never be done, or an epoch that would never end; names the setting.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Check once."""
        for note in check_units(runner):
            runner.logger.warning(note)


def check_units(runner: Runner) -> list[str]:
    """Refuse settings in units that a training's loop does not count, and return what else is to be told.

    Args:
        runner: with loops and schedules built. Loops of other kinds than MMEngine's two are not looked at.

    Raises:
        ConfigError: what would never be done; names the setting.
    """
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        _refuse_endless(loop)
        faults, length, unit = _in_epochs(runner), loop.max_epochs, 'epochs'
    elif isinstance(loop, IterBasedTrainLoop):
        faults, length, unit = _in_iterations(runner), loop.max_iters, 'iterations'
    else:
        return []
    for fault in [*faults, *_never(runner, length, unit)]:
        raise ConfigError(fault)
    return [*_validation_notes(runner, length, unit), *_hook_notes(runner, unit), *schedule_notes(runner)]


def _refuse_endless(loop: EpochBasedTrainLoop) -> None:
    for part in ('sampler', 'batch_sampler'):
        sampler = getattr(loop.dataloader, part, None)
        kinds = {kind.__name__ for kind in type(sampler).__mro__}
        if kinds & set(_ENDLESS) and getattr(sampler, 'steps_per_epoch', None) is None:
            ends = (
                'train_dataloader.sampler.steps_per_epoch'
                if hasattr(sampler, 'steps_per_epoch')
                else "sampler=dict(type='DefaultSampler', shuffle=True)"
            )
            raise ConfigError(
                f'train_cfg: {type(loop).__name__} would train its first epoch forever, for {type(sampler).__name__} '
                f"has no end: set {ends}, or type='IterBasedTrainLoop' with max_iters"
            )


def _in_epochs(runner: Runner) -> Iterator[str]:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch and (hook.interval > 0 or hook.save_last):
            yield (
                f'default_hooks.checkpoint: by_epoch=False saves within epochs of {type(runner.train_loop).__name__}, '
                'from where it cannot be resumed: set by_epoch=True, and interval in epochs'
            )


def _in_iterations(runner: Runner) -> Iterator[str]:
    loop: Any = runner.train_loop
    name = type(loop).__name__
    if getattr(loop.dataloader.sampler, 'steps_per_epoch', None) is not None:
        yield (
            f'train_dataloader.sampler.steps_per_epoch is for epochs, but train_cfg is an {name}: leave it out, or set '
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
    """The settings of a hook that count epochs."""
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
        yield f'{of}{kind} counts epochs, which {loop} does not have: use EpochBasedTrainLoop, or leave the hook out'
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
            yield 'EarlyStoppingHook reads validations, of which this training has none: leave it out, or set val_cfg'
    for place, schedule in schedules_of(runner):
        if getattr(schedule, 'need_val_args', False) and not validates:
            yield f'{place}: {type(schedule).__name__} reads validations, of which this training has none: set val_cfg'


def _validation_notes(runner: Runner, length: int, unit: str) -> Iterator[str]:
    loop: Any = runner.train_loop
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best and runner._val_loop is None:
            yield f'default_hooks.checkpoint: save_best={hook.save_best} saves nothing, for there is no validation'
    if runner._val_loop is None:
        return
    milestones = list(zip(loop.dynamic_milestones, loop.dynamic_intervals, strict=True))
    for (start, interval), end in zip(milestones, [*loop.dynamic_milestones[1:], length], strict=True):
        where = 'train_cfg.val_interval' if start == 0 else f'train_cfg.dynamic_intervals, ({start}, {interval})'
        count = (min(end, length) - start) // interval
        if start >= length:
            yield f'{where}: begins after the last of {length} {unit}'
        elif isinstance(loop, IterBasedTrainLoop) and interval <= _SHORT and count > _OFTEN:
            yield f'{where}: validates {count:,} times, for {interval} counts iterations, not epochs'


def _hook_notes(runner: Runner, unit: str) -> Iterator[str]:
    by_epoch = unit == 'epochs'
    for hook in runner.hooks:
        if type(hook).__name__ == 'PreciseBNHook' and not by_epoch and hook.interval <= _SHORT:
            yield f'PreciseBNHook: interval={hook.interval} counts iterations here'
        if isinstance(hook, LoggerHook) and hook.log_metric_by_epoch and not by_epoch:
            yield 'default_hooks.logger: log_metric_by_epoch=True draws all validations at step 0; set it to False'
    if runner.log_processor.by_epoch != by_epoch:
        yield f'log_processor: by_epoch={not by_epoch} in a training of {unit}; set it to {by_epoch}'
