"""Tiny sources and batches of random images with the stock libraries' own labels."""

from __future__ import annotations

from typing import Any

import torch

from xlearner_mm.registry import DATASETS
from xlearner_mm.testing.tiny_models import tiny_classifier, tiny_detector, tiny_segmentor

SIZE = 64
"""Height and width of the tiny images, in pixels."""


@DATASETS.register_module()
class TinyIndexDataset(torch.utils.data.Dataset):
    """A dataset whose item ``i`` of ``length`` is ``{'index': i}``: to see what a sampler draws.

    Args:
        length: number of items.
        tag: anything, to tell datasets apart. Defaults to ''.
    """

    def __init__(self, length: int, tag: str = '') -> None:
        self.length, self.metainfo = length, {'tag': tag}
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, int]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        self.read.append(index)
        return {'index': index}


def index_sources(**lengths_and_sizes: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Return sources without networks, for samplers: ``index_sources(a=(length, batch_size), ...)``."""
    return {
        name: {'task': 'cls', 'batch_size': size, 'dataset': {'type': 'TinyIndexDataset', 'length': length}}
        for name, (length, size) in lengths_and_sizes.items()
    }


def tiny_sources() -> dict[str, dict[str, Any]]:
    """Return two classification sources, one detection and one segmentation source, with tiny networks."""
    networks = {
        'birds': ('cls', tiny_classifier(5)),
        'cars': ('cls', tiny_classifier(3)),
        'boxes': ('det', tiny_detector(3)),
        'masks': ('seg', tiny_segmentor(4)),
    }
    return {
        name: {
            'task': task,
            'batch_size': 2,
            'dataset': {'type': 'TinyIndexDataset', 'length': 8, 'tag': name},
            'network': network,
        }
        for name, (task, network) in networks.items()
    }


def tiny_batch(batch_size: int = 2, seed: int = 0, empty_boxes: bool = False) -> dict[str, dict[str, list]]:
    """Return a collated batch for :func:`tiny_sources`, before any data preprocessor.

    Args:
        batch_size: images per source. Defaults to 2.
        seed: seed of images and labels. Defaults to 0.
        empty_boxes: leave the detection images without objects. Defaults to False.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = {
        'birds': lambda: _cls_sample(5, generator),
        'cars': lambda: _cls_sample(3, generator),
        'boxes': lambda: _det_sample(3, generator, empty_boxes),
        'masks': lambda: _seg_sample(4, generator),
    }
    return {
        name: {
            'inputs': [
                torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
                for _ in range(batch_size)
            ],
            'data_samples': [label() for _ in range(batch_size)],
        }
        for name, label in labels.items()
    }


def _meta() -> dict[str, Any]:
    shape = (SIZE, SIZE)
    return {'img_shape': shape, 'ori_shape': shape, 'pad_shape': shape, 'scale_factor': (1.0, 1.0), 'img_id': 0}


def _cls_sample(num_classes: int, generator: torch.Generator) -> Any:
    from mmpretrain.structures import DataSample

    label = int(torch.randint(0, num_classes, (), generator=generator))
    return DataSample(metainfo=_meta()).set_gt_label(label)


def _det_sample(num_classes: int, generator: torch.Generator, empty: bool) -> Any:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    count = 0 if empty else 2
    corner = torch.rand(count, 2, generator=generator) * (SIZE // 2)
    size = 8 + torch.rand(count, 2, generator=generator) * (SIZE // 4)
    boxes = torch.cat([corner, corner + size], dim=1)
    classes = torch.randint(0, num_classes, (count,), generator=generator)
    sample = DetDataSample(metainfo=_meta())
    sample.gt_instances = InstanceData(bboxes=boxes, labels=classes)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return sample


def _seg_sample(num_classes: int, generator: torch.Generator) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=_meta())
    mask = torch.randint(0, num_classes, (1, SIZE, SIZE), generator=generator)
    sample.gt_sem_seg = PixelData(data=mask)
    return sample
