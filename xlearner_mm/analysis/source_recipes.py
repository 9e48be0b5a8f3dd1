"""Rate and weight decay of every source of paper scale beside the stock recipe that it follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config

from xlearner_mm.analysis.recipes import multipliers, table

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
"""Source -> the stock recipe of its rate and decay, and the images of a step that these are for."""

UNSCALED = ('stanford_cars', 'stanford_dogs')
"""Sources that take the stock rate although their step has fewer images: a small set is repeated often enough."""


@dataclass(frozen=True)
class SourceTraining:
    """What the one optimizer of an expansion does to a source's own parameters, as if they had their own.

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
