"""The config file of a source as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xlearner_mm.config.text import Choice, Name, assignment, comment
from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.pretraining.networks import NORMALIZATION
from xlearner_mm.spread import spread

if TYPE_CHECKING:
    from xlearner_mm.layouts.layout import Layout

HEAD = (
    '# Written by tools/pretrain.py. Edit it as you like: the same command keeps edits, and trains anew what reads '
    'them.\n'
)
_LIBRARIES = {'cls': 'mmpretrain', 'det': 'mmdet', 'seg': 'mmseg'}
_METRICS = {
    'Accuracy': ('accuracy/top1', 1),
    'CocoMetric': ('coco/bbox_mAP', 100),
    'IoUMetric': ('mIoU', 1),
}
"""Type of a metric -> its key, and its factor to percent."""
_VAL_BATCHES = {'cls': 50, 'det': 16, 'seg': 1}  # mmseg takes no images of several sizes at once
_MANY_IMAGES = 100_000
_COUNTED = 100  # label maps
_TASKS = {'cls': 'classification', 'det': 'detection', 'seg': 'segmentation'}


def source_choices(layout: Layout) -> list[Choice]:
    """Return the choices of a source that follow from its layout alone: normalization, pipelines and bad images."""
    load: list[dict[str, Any]] = [{'type': 'LoadImageFromFile'}]
    labels = {'type': 'LoadAnnotations', **layout.labels_loading}
    size = Name('size')
    if layout.task == 'cls':
        least = 0.08 if layout.train.images >= _MANY_IMAGES else 0.35
        flip = {'type': 'RandomFlip', 'prob': 0.5, 'direction': 'horizontal'}
        train = [*load, {'type': 'RandomResizedCrop', 'scale': size, 'crop_ratio_range': (least, 1.0)}, flip]
        val = [*load, {'type': 'ResizeEdge', 'scale': size, 'edge': 'short'}, {'type': 'CenterCrop', 'crop_size': size}]
        pack, kept = {'type': 'PackInputs'}, f'crops of at least {least:.0%} of an image'
        reason = f'{kept} ({"many" if least < 0.1 else "few"} images), flipped: remove that where sides matter'
    elif layout.task == 'det':
        resize = {'type': 'Resize', 'scale': size, 'keep_ratio': True}
        labels |= {'with_bbox': True}
        train = [*load, labels, resize, {'type': 'RandomFlip', 'prob': 0.5}]
        val = [*load, resize, labels]
        pack, reason = {'type': 'PackDetInputs'}, 'whole images, flipped, as in the stock detectors'
    else:
        scale = Name('(4 * size, size)')
        train = [
            *load,
            labels,
            {'type': 'RandomResize', 'scale': scale, 'ratio_range': (0.5, 2.0), 'keep_ratio': True},
            {'type': 'RandomCrop', 'crop_size': Name('(size, size)'), 'cat_max_ratio': 0.75},
            {'type': 'RandomFlip', 'prob': 0.5},
            {'type': 'PhotoMetricDistortion'},
        ]
        val = [*load, {'type': 'Resize', 'scale': scale, 'keep_ratio': True}, labels]
        pack, reason = {'type': 'PackSegInputs'}, 'scaled, cropped, flipped, other colors, as in the stock segmentors'
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    val_pack = {**pack, 'meta_keys': keys} if layout.task == 'det' else pack
    order = {'bgr_to_rgb' if layout.task != 'cls' else 'to_rgb': True}
    return [
        Choice('normalization', {**NORMALIZATION, **order}, "ImageNet's, as downstream configs have it"),
        Choice('train_pipeline', [*train, pack], reason),
        Choice('val_pipeline', [*val, val_pack], 'whole images of the same size, without chance'),
        Choice(
            'bad_data', {'policy': 'skip', 'max_share': 0.01}, 'bad images are skipped, counted and listed, up to 1%'
        ),
    ]


def source_text(layout: Layout, choices: Sequence[Choice], workers: int) -> str:
    """Return the file of a source.

    Args:
        layout: of the source.
        choices: ``size``, ``batch_size``, ``network`` and those of :func:`source_choices`.
        workers: processes that load images for validation.
    """
    scope = {'_scope_': _LIBRARIES[layout.task]}
    evaluator = {**scope, **layout.evaluator}
    metric, scale = _METRICS[evaluator['type']]
    classes = Name('classes') if layout.task != 'cls' else None
    parts = {}
    for part, split in (('train', layout.train), ('val', layout.val)):
        dataset = {**scope, **split.with_pipeline(Name(f'{part}_pipeline'))}  # type: ignore[arg-type]
        parts[part] = _replace_classes(dataset, layout.classes, classes) if classes else dataset
    source = {
        'task': layout.task,
        'batch_size': Name('batch_size'),
        'bad_data': Name('bad_data'),
        'declared': {'images': layout.train.images, 'picture': (layout.sizes.long, layout.sizes.short)},
        'dataset': parts['train'],
        'network': Name('network'),
        'val_dataloader': {
            'batch_size': _VAL_BATCHES[layout.task],
            'num_workers': workers,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
            'dataset': parts['val'],
        },
        'val_evaluator': evaluator,
        'primary_metric': metric,
        'primary_scale': scale,
    }
    head = (
        f'Source `{layout.name}`: {_TASKS[layout.task]}, {layout.train.images:,} images of {len(layout.classes):,} '
        f'classes ({layout.kind} in {layout.folder})'
    )
    helpers = [*(choice.setting for choice in choices), *(['classes'] if classes else [])]
    lines = [
        comment(head),
        HEAD,
        *([assignment('classes', layout.classes)] if classes else []),
        *(choice.text() for choice in choices),
        '',
        assignment(source_variable(layout.name), source),
        '# Two sources would define these helpers twice in a training config.',
        textwrap.fill(f'del {", ".join(helpers)}', 118),
    ]
    return '\n'.join(lines) + '\n'


def pixel_shares(layout: Layout) -> list[float]:
    """Return the share of every class in the labeled pixels of some training images of segmentation."""
    labels = {'type': 'LoadAnnotations', **layout.labels_loading}
    dataset = build_deferred({'_scope_': 'mmseg', **layout.train.with_pipeline([labels])})
    counts = np.zeros(len(layout.classes))
    for index in spread(len(dataset), _COUNTED):
        found = np.bincount(dataset[index]['gt_seg_map'].ravel(), minlength=len(counts))
        counts += found[: len(counts)]  # 255 is no class
    return (counts / max(counts.sum(), 1)).tolist()


def source_variable(name: str) -> str:
    """Return the variable of a source in its file, which is no other setting of a config."""
    return f'source_{name}'


def _replace_classes(dataset: Any, classes: tuple[str, ...], name: Name) -> Any:
    """Return a dataset's settings with its tuple of classes replaced by a name."""
    if isinstance(dataset, Mapping):
        return {key: _replace_classes(value, classes, name) for key, value in dataset.items()}
    if isinstance(dataset, list):
        return [_replace_classes(value, classes, name) for value in dataset]
    return name if isinstance(dataset, tuple) and dataset == tuple(classes) else dataset
