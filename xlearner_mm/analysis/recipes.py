"""Trainings of ours beside the stock recipes that they follow, as tables."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from xlearner_mm.engine.schedule import SETTING, counts_epochs, keep_recipe

_GPUS = re.compile(r'(\d+)xb(\d+)')
_POSITIONS = ('begin', 'end', 'T_max', 'milestones')


@dataclass(frozen=True)
class Training:
    """What makes a training's recipe.

    Args:
        batch: how an optimizer step comes about, on every process.
        images_per_step: images of an optimizer step.
        epochs: how often every image is seen.
        steps: optimizer steps.
        rate: learning rate, with its multipliers.
        decay: weight decay, with its multipliers.
        schedule: the schedulers; their steps are optimizer steps.
    """

    batch: str
    images_per_step: int
    epochs: str
    steps: int
    rate: str
    decay: str
    schedule: str


def training_of(cfg: Config, processes: int, images: int) -> Training:
    """Return a training's recipe.

    Args:
        cfg: of the training.
        processes: number of processes.
        images: of its training set; none is read.
    """
    cfg = copy.deepcopy(cfg)
    if isinstance(cfg.get(SETTING), int):
        keep_recipe(cfg, processes)
    batch_size, batches = cfg.train_dataloader.batch_size, cfg.optim_wrapper.get('accumulative_counts', 1)
    per_step = batch_size * batches * processes
    repeats = _repeats(cfg.train_dataloader.dataset)
    if counts_epochs(cfg):
        iterations = math.ceil(math.ceil(images * repeats / processes) / batch_size)
        steps = cfg.train_cfg.max_epochs * math.ceil(iterations / batches)
        epochs = float(cfg.train_cfg.max_epochs * repeats)
    else:
        steps = cfg.train_cfg.max_iters // batches
        epochs = steps * per_step / images
    optimizer = cfg.optim_wrapper.optimizer
    paramwise = cfg.optim_wrapper.get('paramwise_cfg') or {}
    return Training(
        batch=f'{batches} x {batch_size}',
        images_per_step=per_step,
        epochs=f'{epochs:.3g}',
        steps=steps,
        rate=f'{optimizer.type} {optimizer.lr:g}{_multiplied(paramwise, "lr_mult")}',
        decay=f'{optimizer.get("weight_decay", 0):g}{_multiplied(paramwise, "decay_mult")}',
        schedule=', '.join(_described(scheduler, batches) for scheduler in _schedulers(cfg)),
    )


def stock_processes(name: str, cfg: Config) -> int:
    """Return the number of GPUs that a stock recipe is for, by its name or its ``auto_scale_lr``.

    Args:
        name: of its file, such as ``upernet_r50_4xb4-20k_voc12aug-512x512.py``.
        cfg: the recipe.
    """
    found = _GPUS.search(name)
    return int(found[1]) if found else cfg.auto_scale_lr.base_batch_size // cfg.train_dataloader.batch_size


def multipliers(paramwise: Mapping[str, Any], parameter: str) -> tuple[float, float]:
    """Return the factors on rate and decay that MMEngine's constructor gives a parameter by its ``custom_keys``.

    Args:
        paramwise: ``optim_wrapper.paramwise_cfg``.
        parameter: the parameter's name.
    """
    keys = paramwise.get('custom_keys') or {}
    for key in sorted(sorted(keys), key=len, reverse=True):
        if key in parameter:
            return keys[key].get('lr_mult', 1.0), keys[key].get('decay_mult', 1.0)
    return 1.0, 1.0


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table.

    Args:
        columns: their titles.
        rows: their cells.
    """
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join('| ' + ' | '.join(str(cell) for cell in line) + ' |' for line in lines)


def told_once(*values: object) -> str:
    """Return values as one cell: once where they are all the same, and otherwise one after the other."""
    told = [str(value) for value in values]
    return told[0] if len(set(told)) == 1 else ' / '.join(told)


def _repeats(dataset: Any) -> int:
    times = 1
    while isinstance(dataset, Mapping) and 'dataset' in dataset:
        times *= dataset.get('times', 1)
        dataset = dataset['dataset']
    return times


def _multiplied(paramwise: Mapping[str, Any], setting: str) -> str:
    custom = {key: value[setting] for key, value in (paramwise.get('custom_keys') or {}).items() if setting in value}
    if setting == 'decay_mult' and 'bias_decay_mult' in paramwise:
        custom['biases'] = paramwise['bias_decay_mult']
    return ''.join(f', {key} x {value:g}' for key, value in custom.items())


def _schedulers(cfg: Config) -> Iterator[Mapping[str, Any]]:
    given = cfg.get('param_scheduler') or ()
    yield from [given] if isinstance(given, Mapping) else given


def _described(scheduler: Mapping[str, Any], batches: int) -> str:
    by_epoch = scheduler.get('by_epoch', True)
    shown = []
    for key, value in scheduler.items():
        if key in _POSITIONS and not by_epoch:
            value = [each // batches for each in value] if isinstance(value, (list, tuple)) else value // batches
        if key not in ('type', '_scope_', 'by_epoch', 'begin', 'end', 'T_max'):
            shown.append(f'{key}={value}')
    begin, end = (scheduler.get(key) for key in ('begin', 'end'))
    unit = 1 if by_epoch else batches
    span = '' if end is None else f' {(begin or 0) // unit}-{end // unit}' + (' epochs' if by_epoch else '')
    return f'{scheduler["type"]}{span}' + (f' ({", ".join(shown)})' if shown else '')
