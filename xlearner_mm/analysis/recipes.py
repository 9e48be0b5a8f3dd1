"""Tables that compare our trainings with the stock recipes they follow."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from xlearner_mm.engine.schedule import SETTING, counts_epochs, keep_recipe

_GPUS = re.compile(r'(\d+)xb(\d+)')
_POSITIONS = ('begin', 'end', 'T_max', 'milestones')


@dataclass(frozen=True)
class Training:
    """The recipe of a training.

    Args:
        batch: accumulated batches and their size, on every process.
        images_per_step: images of an optimizer step.
        epochs: over every image.
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
        images: in its training set; none is read.
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


def joined_cell(*values: object) -> str:
    """Return values as one cell, once where all are equal."""
    cells = [str(value) for value in values]
    return cells[0] if len(set(cells)) == 1 else ' / '.join(cells)


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


GPUS = 8
"""Number of GPUs that the expansion's schedule is for."""

STOCK = {
    'imagenet1k': ('mmpretrain::resnet/resnet50_8xb32_in1k.py', 256),
    'inat2021': ('mmpretrain::resnet/resnet50_8xb32_in1k.py', 256),
    'places365': ('mmpretrain::resnet/resnet50_8xb32_in1k.py', 256),
    'stanford_cars': ('mmpretrain::resnet/resnet50_8xb8_cub.py', 64),
    'stanford_dogs': ('mmpretrain::resnet/resnet50_8xb8_cub.py', 64),
    'coco': ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 16),
    'objects365': ('mmdet::objects365/faster-rcnn_r50_fpn_16xb4-1x_objects365v1.py', 64),
    'wider_face': ('mmdet::wider_face/retinanet_r50_fpn_1x_widerface.py', 16),
    'ade20k': ('mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py', 16),
    'coco_stuff': ('mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py', 16),
    'voc2012': ('mmseg::upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py', 16),
}
"""Source -> the stock recipe of its rate and decay, and its images per step."""

UNSCALED = ('stanford_cars', 'stanford_dogs')
"""Small sources, repeated often, whose stock rate is not scaled."""


@dataclass(frozen=True)
class SourceTraining:
    """Effective optimizer settings of a source's own parameters under the expansion's one optimizer.

    Args:
        images: of a step, on all GPUs.
        loss_weight: of the source.
        rate: learning rate.
        decay: weight decay of neck and head at that rate.
    """

    images: int
    loss_weight: float
    rate: float
    decay: float


def source_training(source: Config, name: str, schedule: Config) -> SourceTraining:
    """Return a source's effective rate and decay.

    An SGD of rate r, decay d and a loss of weight w steps by ``r (w g + d p)``, which is ``r w (g + d / w p)``: as an
    SGD of rate ``r w`` and decay ``d / w``.

    Args:
        source: its settings.
        name: its name.
        schedule: a config with the expansion's ``optim_wrapper``.
    """
    optimizer = schedule.optim_wrapper.optimizer
    rate, decay = multipliers(schedule.optim_wrapper.get('paramwise_cfg') or {}, f'networks.{name}.head.weight')
    weight = source.loss_weight
    return SourceTraining(
        images=source.batch_size * GPUS,
        loss_weight=weight,
        rate=optimizer.lr * rate * weight,
        decay=optimizer.weight_decay * decay / weight,
    )


def stock_training(name: str, images: int) -> tuple[float, float]:
    """Return rate and decay of a source's stock recipe, the rate for a number of images a step.

    Args:
        name: of the source.
        images: of a step; the rate is proportional to them, but for :data:`UNSCALED`.
    """
    config, for_images = STOCK[name]
    optimizer = get_config(config).optim_wrapper.optimizer
    scale = 1.0 if name in UNSCALED else images / for_images
    return optimizer.lr * scale, optimizer.weight_decay


def source_table(folder: Path) -> str:
    """Return the table of all sources as Markdown.

    Args:
        folder: ``configs/_base_``.
    """
    schedule = Config.fromfile(folder / 'schedules' / 'pretrain_500k.py')
    rows = []
    for name, (config, for_images) in STOCK.items():
        own = source_training(Config.fromfile(folder / 'sources' / f'{name}.py')[name], name, schedule)
        stock = get_config(config).optim_wrapper.optimizer
        images = f'{own.images} ({for_images})'
        rate, decay = f'{own.rate:g} ({stock.lr:g})', f'{own.decay:g} ({stock.weight_decay:g})'
        rows.append([f'`{name}`', f'`{config}`', images, f'{own.loss_weight:g}', rate, decay])
    columns = ['source', 'recipe', 'images a step', 'loss weight', 'rate', 'weight decay']
    return table(columns, rows)
