"""Tiny stock networks, sources and batches, for tests in milliseconds on a CPU."""

from __future__ import annotations

from typing import Any

import torch

from xlearner_mm.registry import DATASETS

CHANNELS = (4, 8, 16, 32)
"""Channels of the tiny ResNet-18 at its four levels."""

_NORMALIZATION: dict[str, Any] = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}


def tiny_resnet(**kwargs: Any) -> dict[str, Any]:
    """Return the config of a ResNet-18 of base width 4; ``kwargs`` override it."""
    return {'type': 'XLearnerResNet', 'depth': 18, 'stem_channels': 4, 'base_channels': 4, **kwargs}


def tiny_resnet_ending_at(level: int, **kwargs: Any) -> dict[str, Any]:
    """Return the config of a tiny ResNet whose last level is ``level``; ``kwargs`` override it."""
    stages = level + 1
    ending = {'num_stages': stages, 'strides': (1, 2, 2, 2)[:stages], 'dilations': (1,) * stages}
    return tiny_resnet(**{**ending, 'out_indices': tuple(range(stages)), **kwargs})


def tiny_expanded(*branches: str, **kwargs: Any) -> dict[str, Any]:
    """Return the config of an expanded backbone of tiny branches (default: cls, det and seg)."""
    names = branches or ('cls', 'det', 'seg')
    return {'type': 'XLearnerExpandedBackbone', 'branches': {n: tiny_resnet() for n in names}, **kwargs}


def tiny_classifier(num_classes: int = 5, in_channels: int = CHANNELS[-1]) -> dict[str, Any]:
    """Return the config of mmpretrain's stock classifier for the tiny ResNet."""
    return {
        '_scope_': 'mmpretrain',
        'type': 'ImageClassifier',
        'data_preprocessor': {'type': 'ClsDataPreprocessor', 'to_rgb': True, **_NORMALIZATION},
        'backbone': {'type': 'ResNet', 'depth': 18, 'out_indices': (3,)},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': num_classes, 'in_channels': in_channels},
    }


def tiny_detector(num_classes: int = 3, in_channels: tuple[int, ...] = CHANNELS) -> dict[str, Any]:
    """Return the config of mmdet's stock RetinaNet for the tiny ResNet."""
    return {
        '_scope_': 'mmdet',
        'type': 'RetinaNet',
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'bgr_to_rgb': True,
            'pad_size_divisor': 32,
            **_NORMALIZATION,
        },
        'backbone': {'type': 'ResNet', 'depth': 18, 'out_indices': (0, 1, 2, 3)},
        'neck': {'type': 'FPN', 'in_channels': list(in_channels), 'out_channels': 8, 'start_level': 1, 'num_outs': 3},
        'bbox_head': {
            'type': 'RetinaHead',
            'num_classes': num_classes,
            'in_channels': 8,
            'stacked_convs': 1,
            'feat_channels': 8,
            'anchor_generator': {
                'type': 'AnchorGenerator',
                'octave_base_scale': 2,
                'scales_per_octave': 1,
                'ratios': [1.0],
                'strides': [8, 16, 32],
            },
            'bbox_coder': {'type': 'DeltaXYWHBBoxCoder'},
            'loss_cls': {'type': 'FocalLoss'},
            'loss_bbox': {'type': 'L1Loss'},
        },
        'train_cfg': {
            'assigner': {'type': 'MaxIoUAssigner', 'pos_iou_thr': 0.5, 'neg_iou_thr': 0.4, 'min_pos_iou': 0},
            'sampler': {'type': 'PseudoSampler'},
            'allowed_border': -1,
            'pos_weight': -1,
        },
        'test_cfg': {
            'nms_pre': 50,
            'min_bbox_size': 0,
            'score_thr': 0.0,
            'nms': {'type': 'nms', 'iou_threshold': 0.5},
            'max_per_img': 5,
        },
    }


def tiny_segmentor(num_classes: int = 4, in_channels: tuple[int, ...] = CHANNELS) -> dict[str, Any]:
    """Return the config of mmseg's stock FCN for the tiny ResNet."""
    return {
        '_scope_': 'mmseg',
        'type': 'EncoderDecoder',
        'data_preprocessor': {
            'type': 'SegDataPreProcessor',
            'bgr_to_rgb': True,
            'size': (64, 64),
            'seg_pad_val': 255,
            **_NORMALIZATION,
        },
        'backbone': {'type': 'ResNet', 'depth': 18, 'out_indices': (0, 1, 2, 3)},
        'decode_head': {
            'type': 'FCNHead',
            'in_channels': list(in_channels),
            'in_index': (0, 1, 2, 3),
            'input_transform': 'resize_concat',
            'channels': 8,
            'num_convs': 1,
            'kernel_size': 1,
            'concat_input': False,
            'dropout_ratio': 0.0,
            'num_classes': num_classes,
            'align_corners': False,
        },
        'train_cfg': {},
        'test_cfg': {'mode': 'whole'},
    }


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
