"""Schedules and optimizer settings that differ between a checkpoint and the config of a resumed training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from xlearner_mm.engine.hooks.loop_units_hook import schedules_of
from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.unwrapped import unwrapped

SETTING = 'resume_schedule'
CHOICES = ('checkpoint', 'config')
_TENSORS = ('params', 'param_names')
_PROGRESS = (
    'optimizer', 'last_step', '_global_step', '_last_value', 'base_values', 'verbose', 'best', 'num_bad_epochs',
    'cooldown_counter', 'rule_worse',
)  # fmt: skip
"""State of a schedule that is not a setting."""


class ConfiguredSettings:
    """The config's settings of optimizers and schedules, recorded before a checkpoint overwrites them.

    Args:
        runner: before its first step; optimizers and schedules are built if necessary.

    Raises:
        ConfigError: an unknown ``resume_schedule``.
    """

    def __init__(self, runner: Runner) -> None:
        self.choice = chosen_settings(runner)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        wrappers = wrappers_of(runner.optim_wrapper)
        self._groups = {
            name: [_copied(group) for group in own.optimizer.param_groups] for name, own in wrappers.items()
        }
        self._bases = {name: deepcopy(own.base_param_settings) for name, own in wrappers.items()}
        self._schedules = [
            {key: deepcopy(value) for key, value in vars(schedule).items() if key != 'optimizer'}
            for _, schedule in schedules_of(runner)
        ]

    def settle(self, runner: Runner) -> list[str]:
        """Apply the config's settings if ``resume_schedule='config'``, else return those that are not applied.

        Args:
            runner: the same, with the checkpoint loaded.

        Raises:
            ConfigError: see :meth:`take_over`.
        """
        if self.choice == 'config':
            self.take_over(runner)
            return []
        return self.not_taken_over(runner)

    def not_taken_over(self, runner: Runner) -> list[str]:
        """Return the config's settings that differ from the checkpoint's."""
        found: dict[str, str] = {}
        scheduled = {schedule.param_name for _, schedule in schedules_of(runner)}
        for place, group, wanted in self._beside(runner):
            for key, value in wanted.items():
                # Of a value that a schedule changes, the setting is the initial one.
                name = key.removeprefix('initial_')
                if (
                    key in _TENSORS
                    or key not in group
                    or (name in scheduled) != key.startswith('initial_')
                    or group[key] == value
                ):
                    continue
                found.setdefault(f'{place}.{name}', f'={_short(value)} ({_short(group[key])})')
        for (place, schedule), wanted in zip(schedules_of(runner), self._schedules, strict=True):
            for key, value in wanted.items():
                if key not in _PROGRESS and getattr(schedule, key) != value:
                    found[f'{place}.{key}'] = f'={_short(value)} ({_short(getattr(schedule, key))})'
        return [f'{name}{values}' for name, values in found.items()]

    def take_over(self, runner: Runner) -> None:
        """Apply the config's settings, and step the schedules to the runner's step.

        Raises:
            ConfigError: a schedule that depends on past validations.
        """
        for place, schedule in schedules_of(runner):
            if getattr(schedule, 'need_val_args', False):
                raise ConfigError(
                    f"{SETTING}='config': {place}, {type(schedule).__name__}, depends on the validations of the "
                    "training that is resumed, which cannot be made again; resume with 'checkpoint'"
                )
        for name, wrapper in wrappers_of(runner.optim_wrapper).items():
            wrapper.optimizer.param_groups[:] = map(_copied, self._groups[name])
            wrapper.base_param_settings = deepcopy(self._bases[name])
        for (_, schedule), wanted in zip(schedules_of(runner), self._schedules, strict=True):
            vars(schedule).update(deepcopy(wanted))
        _step_to(runner)

    def _beside(self, runner: Runner) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Yield places in a config with the current and the former group of a parameter."""
        for name, wrapper in wrappers_of(runner.optim_wrapper).items():
            now = {id(parameter): group for group in wrapper.optimizer.param_groups for parameter in group['params']}
            for wanted in self._groups[name]:
                for group in {
                    id(group): group for group in (now[id(p)] for p in wanted['params'] if id(p) in now)
                }.values():
                    yield _place(name), group, wanted
            if wrapper.base_param_settings and self._bases[name]:
                yield _place(name), wrapper.base_param_settings, self._bases[name]


def chosen_settings(runner: Runner) -> str:
    """Return ``resume_schedule`` of the runner's config.

    Raises:
        ConfigError: an unknown choice.
    """
    choice = runner.cfg.get(SETTING, CHOICES[0])
    if choice not in CHOICES:
        raise ConfigError(f'{SETTING}={choice!r} must be one of {CHOICES}')
    return choice


def match_optimizers(runner: Runner, checkpoint: Mapping[str, Any], filename: str) -> None:
    """Group the parameters of optimizers as a checkpoint does, and refuse what does not fit.

    Parameters are found by the names that :class:`PerBranchOptimWrapperConstructor` gives them. Groups without names
    must have the same sizes.

    Args:
        runner: with optimizers and schedules built.
        checkpoint: its content.
        filename: its name, for messages.

    Raises:
        CheckpointError: another optimizer, other parameters or groups, or, unless ``resume_schedule='config'``, other
            schedules.
    """
    states = checkpoint['optimizer']
    wrappers = wrappers_of(runner.optim_wrapper)
    saved = {'': states} if 'param_groups' in states else dict(states)
    if set(saved) != set(wrappers):
        raise CheckpointError(
            f'the checkpoint to resume from, {filename}, has {_optimizers(saved)}, but optim_wrapper has '
            f'{_optimizers(wrappers)}: resume with the optim_wrapper that it was trained with, or start from it by '
            'load_from'
        )
    for name, wrapper in wrappers.items():
        place = _place(name)
        groups, own = saved[name]['param_groups'], wrapper.optimizer.param_groups
        lacking, further = (
            sorted(key for key in set(one) - set(other) - set(_TENSORS) if not key.startswith('initial_'))
            for one, other in ((own[0], groups[0]), (groups[0], own[0]))
        )
        if lacking and further:
            raise CheckpointError(
                f'{place} is {type(wrapper.optimizer).__name__} with {", ".join(lacking)}, but the checkpoint to '
                f'resume from, {filename}, is of one with {", ".join(further)}: set the optimizer that it was trained '
                'with, or start from it by load_from'
            )
        if all('param_names' in group for group in (*groups, *own)):
            _regroup(runner.model, wrapper, saved[name], f'{place}: the checkpoint to resume from, {filename},')
        elif [len(group['params']) for group in groups] != [len(group['params']) for group in own]:
            raise CheckpointError(
                f'{place} has {len(own)} parameter groups of {_numbers(own)} parameters, but the checkpoint to resume '
                f'from, {filename}, {len(groups)} of {_numbers(groups)}: set the paramwise_cfg that it was trained '
                'with, or start from it by load_from'
            )
    if chosen_settings(runner) == CHOICES[0]:
        _refuse_other_schedules(runner, checkpoint.get('param_schedulers'), filename)


def _regroup(model: nn.Module, wrapper: OptimWrapper, saved: Mapping[str, Any], place: str) -> None:
    """Group the parameters as in a checkpoint: its settings, and the states of its schedules, are per group."""
    groups, own = wrapper.optimizer.param_groups, dict(unwrapped(model).named_parameters())
    names = {name for group in saved['param_groups'] for name in group['param_names']}
    trained = {name for group in groups for name in group['param_names'] if own[name].requires_grad}
    for fault, found in (('lacks', trained - names), ('has the unknown', names - set(own))):
        if found:
            others = f' and {len(found) - 1} more' if len(found) > 1 else ''
            raise CheckpointError(
                f'{place} {fault} parameter {min(found)}{others}: train the same parts of the model, or start from it '
                'by load_from'
            )
    groups[:] = [
        {**wrapper.optimizer.defaults, 'params': [own[name] for name in group['param_names']]}
        for group in saved['param_groups']
    ]
    if 'base_param_settings' not in saved:
        wrapper.base_param_settings = None


def _refuse_other_schedules(runner: Runner, saved: Any, filename: str) -> None:
    if saved is None or runner.param_schedulers is None:
        return
    own: Any = runner.param_schedulers
    before = saved if isinstance(saved, Mapping) else {'': saved}
    now = own if isinstance(own, Mapping) else {'': own}
    for name, schedules in now.items():
        # A checkpoint does not name the classes of its schedules: their attributes are compared.
        kinds = [(s.param_name, s.by_epoch, *_made_of(vars(s))) for s in schedules]
        others = [(s['param_name'], s['by_epoch'], *_made_of(s)) for s in before.get(name, [])]
        if kinds != others:
            place = f'param_scheduler.{name}' if name else 'param_scheduler'
            raise CheckpointError(
                f'{place} is {[type(s).__name__ for s in schedules]}, but the checkpoint to resume from, {filename}, '
                f'has schedules of other kinds ({_settings_of(before.get(name, []))}): set the ones that it was '
                f"trained with, or take the config's over by --resume-schedule config ({SETTING}='config')"
            )


def _made_of(state: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in state if key not in _PROGRESS)


def _settings_of(states: list[Mapping[str, Any]]) -> str:
    common = {'param_name', 'by_epoch', *_PROGRESS}
    told = [', '.join(key for key in _made_of(state) if key not in common) for state in states]
    return '; '.join(told) or 'none'


def _place(name: str) -> str:
    return f'optimizer.{name}' if name else 'optimizer'


def _optimizers(names: Mapping[str, Any]) -> str:
    return 'one optimizer for all' if set(names) == {''} else f'optimizers of {sorted(names)}'


def _numbers(groups: list[dict[str, Any]]) -> str:
    counts = [str(len(group['params'])) for group in groups]
    return ', '.join(counts[:4]) + (', ...' if len(counts) > 4 else '')


def _copied(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a group with the same parameters."""
    return {key: list(value) if key in _TENSORS else deepcopy(value) for key, value in group.items()}


def _short(value: Any) -> str:
    return f'{value:g}' if isinstance(value, float) else str(sorted(value) if isinstance(value, dict) else value)


def _step_to(runner: Runner) -> None:
    """Step the schedules as MMEngine's hook would have done up to the runner's step."""
    schedules = [schedule for _, schedule in schedules_of(runner)]
    every_step = [schedule for schedule in schedules if not schedule.by_epoch]
    every_epoch = [schedule for schedule in schedules if schedule.by_epoch]
    for schedule in schedules:
        schedule.optimizer._global_step = 0  # else torch warns of a schedule stepped before its optimizer
    epochs = runner.epoch
    steps = runner.iter // max(epochs, 1)
    for _ in range(max(epochs, 1)):
        for _ in range(steps):
            for schedule in every_step:
                schedule.step()
        for schedule in every_epoch if epochs else []:
            schedule.step()
