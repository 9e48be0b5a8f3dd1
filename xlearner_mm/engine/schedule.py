"""Length and learning rate of a training, adapted to the images of its steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from torch import distributed
from torch.utils.data import DataLoader

from xlearner_mm.engine.optim.wrapper import accumulative_counts
from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.registry import HOOKS, bare_name, type_of

SETTING = 'images_per_step'
"""Setting of a config: the images of an optimizer step that its rate and its schedule are written for."""

# Environment variables by which launchers pass the number of processes.
_PROCESSES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
_SPANS = ('T_max', 'step_size', 'periods', 'total_steps')


@dataclass(frozen=True)
class _Stretch:
    """Conversion of what a config writes in optimizer steps to iterations of the loop.

    Args:
        steps: factor on numbers of optimizer steps.
        rate: factor on learning rates. Defaults to 1.
        batches: iterations per optimizer step. Defaults to 1.
        warmup: steps at the beginning that keep their number. Defaults to 0.
    """

    steps: float
    rate: float = 1.0
    batches: int = 1
    warmup: int = 0

    def span(self, count: Any) -> Any:
        """Convert a number of steps, or several; no step may vanish."""
        if isinstance(count, list | tuple):
            return [self.span(each) for each in count]
        return count if count <= 0 else max(1, round(count * self.steps)) * self.batches

    def point(self, step: int) -> int:
        """Convert a place in the training."""
        return step if step <= self.warmup else max(self.warmup + 1, round(step * self.steps)) * self.batches

    def loop(self, loop: Any) -> None:
        """Convert a loop that counts iterations, in place."""
        for key in ('max_iters', 'val_interval', 'val_begin', 'dynamic_intervals'):
            # Validation at, or from, the first iteration stays there where an iteration is a step.
            if loop.get(key) is not None and not (loop[key] == 1 and self.batches == 1):
                loop[key] = self.span(loop[key])

    def schedule(self, schedule: Any) -> None:
        """Convert a schedule, in place; one that counts epochs has its rates scaled only."""
        for key in ('eta_min', 'eta_max') if 'Momentum' not in bare_name(schedule.get('type')) else ():
            if schedule.get(key) is not None:
                schedule[key] *= self.rate
        if schedule.get('by_epoch', True):
            return
        whole = 'end' in schedule and schedule.get('T_max') == schedule['end'] - schedule.get('begin', 0)
        for key in ('begin', 'end'):
            if key in schedule:
                schedule[key] = self.point(schedule[key])
        if 'milestones' in schedule:
            schedule['milestones'] = [self.point(step) for step in schedule['milestones']]
        for key in _SPANS:
            if schedule.get(key) is not None:
                schedule[key] = self.span(schedule[key])
        if whole:
            schedule['T_max'] = schedule['end'] - schedule.get('begin', 0)
        if 'gamma' in schedule and not {'milestones', 'step_size'} & schedule.keys():  # applied in every step
            schedule['gamma'] **= 1 / (self.steps * self.batches)


@dataclass(frozen=True)
class StepPlan:
    """The images of one optimizer step.

    Args:
        batch_size: images per process and iteration.
        batches: iterations per optimizer step.
        processes: number of processes.
        wanted: images of a step of the recipe.
    """

    batch_size: int
    batches: int
    processes: int
    wanted: int

    @property
    def images(self) -> int:
        """Images of a step."""
        return self.batch_size * self.batches * self.processes

    def describe(self) -> str:
        """Return it as a sentence."""
        parts = f'{self.processes} process(es) x {self.batches} batch(es) of {self.batch_size}'
        scaled = ''
        if self.images != self.wanted:
            scaled = f'; of {self.wanted} in the recipe: rate and length are scaled in proportion'
        return f'{self.images} images an optimizer step: {parts}{scaled}'


def plan_step(images: int, batch_size: int, processes: int) -> StepPlan:
    """Choose the largest batch of at most ``batch_size`` that gives exactly ``images``, or else nearly as many.

    Args:
        images: of an optimizer step of the recipe.
        batch_size: images that fit into a process at once.
        processes: number of processes.

    Raises:
        ConfigError: more processes than images.
    """
    if processes > images:
        raise ConfigError(
            f'{SETTING}={images}: {processes} processes cannot share {images} images a step; start at most {images}, '
            f'or set {SETTING}=None and choose batch size, rate and length yourself'
        )
    sizes = range(1, min(batch_size, images) + 1)
    plans = [StepPlan(b, max(1, round(images / (b * processes))), processes, images) for b in sizes]
    exact = [plan for plan in plans if plan.images == images]
    # Coming one image nearer is not worth a batch of a few images, over which norms compute their statistics.
    large = [plan for plan in plans if 2 * plan.batch_size >= min(batch_size, images / processes)]
    return max(exact or large, key=lambda plan: (-abs(plan.images - images), plan.batch_size))


def keep_recipe(cfg: Config, processes: int) -> StepPlan | None:
    """Change the config of a training on one dataset so that an optimizer step has the images of its recipe.

    ``train_dataloader.batch_size`` and ``optim_wrapper.accumulative_counts`` are set, and all that counts iterations
    (loop, schedules, checkpoints, moving averages) is converted: the same number of optimizer steps, epochs and rates.

    Args:
        cfg: the config, changed in place.
        processes: number of processes.

    Returns:
        The images of a step; None where the config does not set ``images_per_step``.

    Raises:
        ConfigError: the setting is not a number, contradicts others, or there are more processes than images.
    """
    images = cfg.get(SETTING)
    if images is None or cfg.get('train_dataloader') is None:
        return None
    if isinstance(images, Mapping):
        if images['processes'] != processes:
            raise ConfigError(
                f'{SETTING}: this config was written by a training on {images["processes"]} process(es), and there '
                f'are {processes}: start from the config that it was made of'
            )
        return None
    if type(images) is not int or images < 1:
        raise ConfigError(f'{SETTING} must be a whole number of at least 1, or None, got {images!r}')
    _refuse_contradictions(cfg)
    plan = plan_step(images, cfg.train_dataloader.batch_size, processes)
    cfg.train_dataloader.batch_size = plan.batch_size
    if plan.batches > 1:
        cfg.optim_wrapper.accumulative_counts = plan.batches
    if (plan.images, plan.batches) != (images, 1):
        _convert(cfg, _Stretch(images / plan.images, plan.images / images, plan.batches))
    cfg[SETTING] = {'images': images, 'processes': processes}
    return plan


def processes_of(cfg: Config) -> int:
    """Return the number of processes that train a config, also before their group is formed."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get(_PROCESSES.get(cfg.get('launcher', 'none'), ''), 1))


def counts_epochs(cfg: Config) -> bool:
    """Return whether a training's loop counts epochs."""
    loop = cfg.train_cfg
    kind = loop.get('type', 'EpochBasedTrainLoop' if loop.get('by_epoch', True) else 'IterBasedTrainLoop')
    return 'Epoch' in getattr(kind, '__name__', str(kind))


def _refuse_contradictions(cfg: Config) -> None:
    given = f'{SETTING}={cfg[SETTING]}'
    if cfg.train_dataloader.get('batch_size') is None:
        raise ConfigError(f'{given} needs train_dataloader.batch_size; of `sources`, set the batch_size of each')
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    if counts != 1:
        raise ConfigError(
            f'optim_wrapper.accumulative_counts={counts} beside {given}, which decides it: leave it out, or set '
            f'{SETTING}=None'
        )
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise ConfigError(
            f'auto_scale_lr scales the rate to the images of a step, which {given} keeps: leave auto_scale_lr.enable '
            f'out, or set {SETTING}=None'
        )


def _convert(cfg: Config, stretch: _Stretch) -> None:
    cfg.optim_wrapper.optimizer.lr *= stretch.rate
    given = cfg.get('param_scheduler') or ()
    for schedule in [given] if isinstance(given, Mapping) else given:
        stretch.schedule(schedule)
    if not counts_epochs(cfg):
        stretch.loop(cfg.train_cfg)
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    averages = [hook for hook in cfg.get('custom_hooks') or () if 'EMAHook' in str(hook.get('type'))]
    for hook in averages:
        hook.setdefault('interval', 1)
    for hook in averages if checkpoint.get('by_epoch', True) else [checkpoint, *averages]:
        for key in ('interval', 'save_begin', 'begin_iter'):
            if hook.get(key) is not None:
                hook[key] = stretch.span(hook[key])


def is_scaled(auto_scale_lr: Mapping[str, Any] | None) -> bool:
    """Return whether a config's ``auto_scale_lr`` is enabled.

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
    """Return the images of an iteration, of all sources on all processes.

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

    ``max_iters``, the intervals of validations and pruning, and what schedules count in steps, are multiplied by
    ``auto_scale_lr.base_batch_size`` over the images of a step. A warm-up keeps its steps. Of schedules that count
    epochs, the least and largest rates follow the rate. Intervals of logs and checkpoints stay.

    Args:
        runner: with ``train_cfg`` and ``param_scheduler`` as settings; changed in place, its ``cfg`` is not.

    Raises:
        ConfigError: see :func:`is_scaled`; or no step is left after the warm-up.
    """
    loop: Any = runner._train_loop
    if not isinstance(loop, Mapping) or not is_scaled(runner.auto_scale_lr):
        return
    assert runner.auto_scale_lr is not None
    base, images = runner.auto_scale_lr['base_batch_size'], images_per_step(runner)
    stretch = _Stretch(base / images, accumulative_counts(runner) * images / base)
    runner.param_schedulers = _scaled(runner.param_schedulers, stretch, loop.get('max_iters'))
    if 'max_iters' not in loop or base == images:
        return
    runner._train_loop = scaled = dict(loop)
    stretch.loop(scaled)
    for hook in runner.hooks:
        if isinstance(hook, type_of({'type': 'PruningHook'}, HOOKS)):
            hook.interval = stretch.span(hook.interval)  # type: ignore[attr-defined]
    runner.logger.info(
        f'auto_scale_lr: {images} images a step in place of {base}: {scaled["max_iters"]} steps in place of '
        f'{loop["max_iters"]}, and schedules likewise'
    )


def _scaled(schedules: Any, stretch: _Stretch, max_iters: int | None) -> Any:
    """Return converted copies of the schedules of all parameters, or by optimizer."""
    if isinstance(schedules, Mapping) and 'type' not in schedules:
        return {name: _scaled(own, stretch, max_iters) for name, own in schedules.items()}
    if isinstance(schedules, Mapping):
        return _scaled([schedules], stretch, max_iters)[0]
    if not isinstance(schedules, list):
        return schedules
    warmup = max((schedule['end'] for schedule in schedules if _is_warmup(schedule)), default=0)
    left = None if max_iters is None else stretch.span(max_iters)
    if left is not None and left <= warmup and stretch.steps < 1:
        raise ConfigError(
            f'auto_scale_lr leaves {left} of {max_iters} steps, but the warm-up of param_scheduler takes {warmup}: '
            'shorten it, train on fewer processes, or set auto_scale_lr.enable=False'
        )
    copies = [dict(schedule) if isinstance(schedule, Mapping) else schedule for schedule in schedules]
    for schedule in copies:
        if isinstance(schedule, dict):
            _Stretch(stretch.steps, stretch.rate, warmup=warmup).schedule(schedule)
    return copies


def _is_warmup(schedule: Any) -> bool:
    """Return whether a schedule counts steps and raises the rate from the first one on."""
    if not isinstance(schedule, Mapping) or schedule.get('by_epoch', True) or schedule.get('begin', 0):
        return False
    rises = {
        'Linear': schedule.get('start_factor', 1 / 3) < schedule.get('end_factor', 1.0),
        'Constant': schedule.get('factor', 1 / 3) < 1,
        'Quadratic': True,
    }
    name = bare_name(schedule.get('type'))
    return 'end' in schedule and any(name.startswith(shape) and rising for shape, rising in rises.items())
