"""Tiny backbones and stock networks, to try things in milliseconds on a CPU."""

from __future__ import annotations

from typing import Any

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
