"""A preprocessed batch of smaller pictures, or of fewer."""

from __future__ import annotations

import copy
from typing import Any

_STEP = 32  # of networks' strides, and of what detectors pad to
_SHAPES = ('img_shape', 'pad_shape', 'batch_input_shape')
_MAPS = ('gt_sem_seg', 'gt_depth_map')


def first(data: dict[str, Any], count: int) -> dict[str, Any]:
    """Return the first ``count`` images of a preprocessed batch, with labels of their own."""
    return {'inputs': data['inputs'][:count], 'data_samples': copy.deepcopy(data['data_samples'][:count])}


def shrink(data: dict[str, Any], pixels: float) -> dict[str, Any]:
    """Return a preprocessed batch with images cut to about ``pixels`` each, their labels moved along.

    Args:
        data: ``inputs`` ``(B, 3, H, W)`` and ``data_samples`` of any of the stock libraries.
        pixels: H' x W' that is wanted. Sides are multiples of 32, and never longer than they were.
    """
    height, width = data['inputs'].shape[-2:]
    factor = (pixels / (height * width)) ** 0.5
    h, w = (min(side, max(_STEP, round(side * factor / _STEP) * _STEP)) for side in (height, width))
    samples = [_shrink_labels(sample, (h, w), (h / height, w / width)) for sample in data['data_samples']]
    return {'inputs': data['inputs'][..., :h, :w].contiguous(), 'data_samples': samples}


def _shrink_labels(sample: Any, shape: tuple[int, int], factors: tuple[float, float]) -> Any:
    sample = copy.deepcopy(sample)
    sample.set_metainfo({key: shape for key in _SHAPES if key in sample})
    for key in _MAPS:
        if key in sample:
            # One made anew: it does not take data of another size.
            labels = sample.get(key)
            sample.set_data({key: type(labels)(data=labels.data[..., : shape[0], : shape[1]])})
    for key in ('gt_instances', 'ignored_instances'):
        if key in sample and 'bboxes' in sample.get(key):
            instances = sample.get(key)
            instances.bboxes = instances.bboxes * instances.bboxes.new_tensor([factors[1], factors[0]] * 2)
            if 'masks' in instances:
                instances.masks = instances.masks.resize(shape)
    return sample
