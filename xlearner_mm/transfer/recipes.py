"""Comparison of the transfer configs of paper scale with the stock recipes that they follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config

from xlearner_mm.analysis.recipes import Training, joined_cell, stock_processes, table, training_of
from xlearner_mm.transfer.protocol import transfer_sets

GPUS = (1, 8)
"""Numbers of GPUs that the table compares."""

STOCK = {
    'voc0712': 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
    'coco': 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'voc12': 'mmseg::upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py',
    'ade20k': 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
    'nyu': 'mmseg::vpd/vpd_sd_4xb8-25k_nyu-512x512.py',
}
"""Transfer set -> stock recipe of its training; linear probes have none."""

WHY = {
    'nyu': 'backbone x 0.1: a ResNet in place of the diffusion UNet (x 0.01) and its frozen encoder (x 0)',
}
"""Transfer set -> reason of a difference."""

_PROBE = 'none: `--probe sgd` is our choice'


def transfer_trainings(folder: Path) -> dict[str, list[Training]]:
    """Return the trainings of every transfer set of a folder: on each of :data:`GPUS` and by the stock recipe."""
    found = {}
    for entry in transfer_sets(folder):
        cfg = Config.fromfile(entry.config)
        images = cfg.declared.images
        if entry.name == 'voc0712':  # declared with the repetitions of its dataset
            images //= cfg.train_dataloader.dataset.times
        found[entry.name] = [training_of(cfg, processes, images) for processes in GPUS]
        if entry.name in STOCK:
            stock = get_config(STOCK[entry.name])
            found[entry.name].append(training_of(stock, stock_processes(STOCK[entry.name], stock), images))
    return found


def differences(trainings: list[Training]) -> list[str]:
    """Return the names of the fields that differ between a set's trainings, except for the composition of a step."""
    names = [field.name for field in fields(Training) if field.name != 'batch']
    return [name for name in names if len({getattr(training, name) for training in trainings}) > 1]


def transfer_table(found: Mapping[str, list[Training]]) -> str:
    """Return the Markdown table of the result of :func:`transfer_trainings`."""
    rows = []
    for name, trainings in found.items():
        values = {
            field.name: joined_cell(*(getattr(training, field.name) for training in trainings))
            for field in fields(Training)
        }
        stock = f'`{STOCK[name]}`' if name in STOCK else _PROBE
        equal = WHY.get(name, 'no') if differences(trainings) else 'yes' if name in STOCK else 'on any number'
        compositions = [training.batch for training in trainings[: len(GPUS)]]
        cells = [values[key] for key in ('images_per_step', 'epochs', 'steps', 'rate', 'decay', 'schedule')]
        rows.append([f'`{name}`', stock, *compositions, *cells, equal])
    columns = ['set', 'stock recipe', *(f'{count} GPU{"s" * (count > 1)}' for count in GPUS), 'images a step']
    columns += ['epochs', 'steps', 'rate', 'weight decay', 'schedule', 'equal']
    return table(columns, rows)
