"""Random images and labels of a source, as its preprocessor gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OBJECTS = 5  # on an image of a detection source


def batch_of(source: Mapping[str, Any], size: int, device: str) -> dict[str, Any]:
    """Random images and labels of one source, as its preprocessor gives them."""
    import torch

    count = source['batch_size']
    make = {'cls': labels_of_class, 'det': labels_of_boxes, 'seg': labels_of_pixels}[source['task']]
    samples = [make(source, size).to(device) for _ in range(count)]
    return {'inputs': torch.randn(count, 3, size, size, device=device), 'data_samples': samples}


def classes_of(source: Mapping[str, Any]) -> int:
    """Classes of a source's head."""
    from xlearner_mm.sources import settings_named

    return min(value for _, value in settings_named('num_classes', source['network']))


def labels_of_class(source: Mapping[str, Any], size: int) -> Any:
    """A random class."""
    import torch
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(torch.randint(classes_of(source), (1,)))


def labels_of_boxes(source: Mapping[str, Any], size: int) -> Any:
    """Random boxes."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    corners = torch.rand(OBJECTS, 2) * size * 0.6
    boxes = torch.cat([corners, corners + size * (0.1 + 0.3 * torch.rand(OBJECTS, 2))], 1)
    shape = (size, size)
    sample = DetDataSample(
        metainfo={'img_shape': shape, 'ori_shape': shape, 'pad_shape': shape, 'batch_input_shape': shape}
    )
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(classes_of(source), (OBJECTS,)))
    sample.ignored_instances = InstanceData(bboxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long))
    return sample


def labels_of_pixels(source: Mapping[str, Any], size: int) -> Any:
    """A random map of classes."""
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo={'img_shape': (size, size), 'ori_shape': (size, size), 'pad_shape': (size, size)})
    sample.gt_sem_seg = PixelData(data=torch.randint(classes_of(source), (1, size, size)))
    return sample
