"""A recipe's images per optimizer step, kept on any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import distributed

from xlearner_mm.errors import ConfigError

SETTING = 'images_per_step'
"""Name of a config's setting: the images of one optimizer step, for which its rate and its schedule are made."""

# How the launchers tell the number of processes.
_PROCESSES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
_OF_LOOP = ('max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
_OF_SCHEDULER = ('begin', 'end', 'T_max', 'total_steps', 'step_size', 'milestones', 'periods')
_OF_CHECKPOINTS = ('interval', 'save_begin')
_OF_AVERAGES = ('interval', 'begin_iter')


@dataclass(frozen=True)
class StepPlan:
    """The images of one optimizer step.

    Args:
        batch_size: images that a process takes at once.
        batches: how many of these a process takes for one optimizer step.
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
    """Choose what every process takes for one optimizer step.

    The largest batch that is not above ``batch_size`` and comes to exactly ``images``; where the number of processes
    does not divide it, the nearest number.

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
    # A batch of a few images would be a bad price for coming one nearer: norms see it alone.
    large = [plan for plan in plans if 2 * plan.batch_size >= min(batch_size, images / processes)]
    return max(exact or large, key=lambda plan: (-abs(plan.images - images), plan.batch_size))


def keep_recipe(cfg: Config, processes: int) -> StepPlan | None:
    """Change a training's config so that an optimizer step has the images of its recipe.

    A config that sets ``images_per_step`` is written in optimizer steps of that many images. Here its
    ``train_dataloader.batch_size`` becomes what every process takes at once, ``optim_wrapper.accumulative_counts`` how
    often it does for one step, and everything that counts iterations of the loop (schedules, validation, checkpoints)
    is multiplied by it: the same number of optimizer steps, epochs and the same rates.

    Args:
        cfg: the config, changed in place.
        processes: number of processes.

    Returns:
        What a step consists of; None where the config leaves it to its batch size.

    Raises:
        ConfigError: the setting is no number, contradicts others, or there are more processes than images.
    """
    images = cfg.get(SETTING)
    if images is None or cfg.get('train_dataloader') is None:
        return None
    if isinstance(images, Mapping):
        _check_kept(images, processes)
        return None
    if type(images) is not int or images < 1:
        raise ConfigError(f'{SETTING} must be a whole number of at least 1, or None, got {images!r}')
    _check_alone(cfg)
    plan = plan_step(images, cfg.train_dataloader.batch_size, processes)
    cfg.train_dataloader.batch_size = plan.batch_size
    if plan.batches > 1:
        cfg.optim_wrapper.accumulative_counts = plan.batches
    if (plan.images, plan.batches) != (images, 1):
        _scale_rate(cfg, plan.images / images)
        _stretch(cfg, images / plan.images, plan.batches)
    cfg[SETTING] = {'images': images, 'processes': processes}
    return plan


def processes_of(cfg: Config) -> int:
    """Return the number of processes that train a config, before or after they have met."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get(_PROCESSES.get(cfg.get('launcher', 'none'), ''), 1))


def counts_epochs(cfg: Config) -> bool:
    """Return whether a training's loop counts epochs."""
    loop = cfg.train_cfg
    kind = loop.get('type', 'EpochBasedTrainLoop' if loop.get('by_epoch', True) else 'IterBasedTrainLoop')
    return 'Epoch' in getattr(kind, '__name__', str(kind))


def _check_kept(kept: Mapping[str, Any], processes: int) -> None:
    if kept['processes'] != processes:
        raise ConfigError(
            f'{SETTING}: this config was written by a training on {kept["processes"]} process(es), and there are '
            f'{processes}: start from the config that it was made of'
        )


def _check_alone(cfg: Config) -> None:
    counts = cfg.optim_wrapper.get('accumulative_counts', 1)
    if counts != 1:
        raise ConfigError(
            f'optim_wrapper.accumulative_counts={counts} beside {SETTING}={cfg[SETTING]}, which decides it: leave it '
            f'out, or set {SETTING}=None'
        )
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise ConfigError(
            f'auto_scale_lr scales the rate to the images of a step, which {SETTING}={cfg[SETTING]} keeps: leave '
            f'auto_scale_lr.enable out, or set {SETTING}=None'
        )


def _scale_rate(cfg: Config, ratio: float) -> None:
    """Scale the learning rate to a step that the processes cannot share evenly."""
    cfg.optim_wrapper.optimizer.lr *= ratio
    for scheduler in _schedulers(cfg):
        if 'eta_min' in scheduler:
            scheduler['eta_min'] *= ratio


def _stretch(cfg: Config, steps: float, batches: int) -> None:
    """Bring what is written in optimizer steps to iterations of the loop."""
    for scheduler in _schedulers(cfg):
        if not scheduler.get('by_epoch', True):
            _multiply(scheduler, _OF_SCHEDULER, steps, batches)
            if 'gamma' in scheduler and 'Exponential' in str(scheduler['type']):
                scheduler['gamma'] **= 1 / (steps * batches)
    if not counts_epochs(cfg):
        _multiply(cfg.train_cfg, _OF_LOOP, steps, batches)
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True):
        _multiply(checkpoint, _OF_CHECKPOINTS, steps, batches)
    for hook in cfg.get('custom_hooks') or ():
        if 'EMAHook' in str(hook.get('type')):
            hook.setdefault('interval', 1)
            _multiply(hook, _OF_AVERAGES, steps, batches)


def _schedulers(cfg: Config) -> Iterator[Any]:
    given = cfg.get('param_scheduler') or ()
    yield from [given] if isinstance(given, Mapping) else given


def _multiply(settings: Any, keys: tuple[str, ...], steps: float, batches: int) -> None:
    for key in keys:
        if settings.get(key) is not None:
            settings[key] = _multiplied(settings[key], steps, batches)


def _multiplied(value: Any, steps: float, batches: int) -> Any:
    if isinstance(value, (list, tuple)):
        return [_multiplied(each, steps, batches) for each in value]
    # Whole optimizer steps, of which none may vanish.
    return value if value <= 0 else max(1, round(value * steps)) * batches
