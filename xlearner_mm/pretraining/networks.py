"""Networks of the sources: those of the libraries' own configs, fitted to classes and backbone."""

from __future__ import annotations

from typing import Any

from mmengine.hub import get_config

from xlearner_mm.config.text import SPREAD, Name

NORMALIZATION = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}
"""ImageNet's, which downstream configs have by default."""

_BATCH_NORM = {'type': 'BN', 'requires_grad': True}  # of one process


def linear_classifier(channels: list[int], classes: int, std: float) -> dict[str, Any]:
    """Return mmpretrain's linear classifier.

    Args:
        channels: of the backbone's levels.
        classes: their number.
        std: of its initial weights.
    """
    head = {'type': 'LinearClsHead', 'num_classes': classes, 'in_channels': channels[3]}
    return {
        '_scope_': 'mmpretrain',
        'type': 'ImageClassifier',
        'data_preprocessor': _preprocessor('ClsDataPreprocessor', num_classes=classes),
        'backbone': _port((3,)),
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {
            **head,
            'loss': {'type': 'CrossEntropyLoss'},
            'init_cfg': {'type': 'Normal', 'layer': 'Linear', 'std': std},
        },
    }


def atss(channels: list[int], classes: int, std: float, levels: int, anchor: int) -> dict[str, Any]:
    """Return mmdet's ATSS.

    Args:
        channels: of the backbone's levels.
        classes: their number.
        std: of the head's initial weights.
        levels: of its pyramid, from stride 8.
        anchor: side of an anchor in strides.
    """
    model = _detector('mmdet::atss/atss_r50_fpn_1x_coco.py')
    head = model['bbox_head']
    width = min(2 * channels[0], head['in_channels'])
    model['neck'] |= {'in_channels': channels, 'out_channels': width, 'num_outs': levels}
    head |= {'num_classes': classes, 'in_channels': width, 'feat_channels': width}
    head['stacked_convs'] = head['stacked_convs'] if width >= 128 else 2
    head['norm_cfg'] = {'type': 'GN', 'num_groups': min(32, width // 4), 'requires_grad': True}
    bias = max(std, 0.01)
    override = {'type': 'Normal', 'name': 'atss_cls', 'std': std, 'bias_prob': bias}
    head['init_cfg'] = {'type': 'Normal', 'layer': 'Conv2d', 'std': std, 'override': override}
    strides = [8 * 2**level for level in range(levels)]
    head['anchor_generator'] |= {'octave_base_scale': anchor, 'strides': strides}
    return model


def faster_rcnn(channels: list[int], classes: int) -> dict[str, Any]:
    """Return mmdet's Faster R-CNN with FPN.

    Args:
        channels: of the backbone's levels.
        classes: their number.
    """
    model = _detector('mmdet::_base_/models/faster-rcnn_r50_fpn.py')
    model['neck']['in_channels'] = channels
    model['roi_head']['bbox_head']['num_classes'] = classes
    return model


def fcn(channels: list[int], classes: int, std: float) -> dict[str, Any]:
    """Return mmseg's FCN, over all levels.

    Args:
        channels: of the backbone's levels.
        classes: their number.
        std: of its initial weights.
    """
    model = _segmentor('mmseg::_base_/models/fcn_r50-d8.py')
    del model['auxiliary_head']
    model['decode_head'] |= {
        'in_channels': channels,
        'in_index': (0, 1, 2, 3),
        'input_transform': 'resize_concat',
        'channels': min(4 * channels[0], 256),
        'num_convs': 1,
        'concat_input': False,
        'num_classes': classes,
        'norm_cfg': _BATCH_NORM,
        'init_cfg': {'type': 'Normal', 'std': std, 'override': {'name': 'conv_seg'}},
    }
    return model


def upernet(channels: list[int], classes: int) -> dict[str, Any]:
    """Return mmseg's UPerNet.

    Args:
        channels: of the backbone's levels.
        classes: their number.
    """
    model = _segmentor('mmseg::_base_/models/upernet_r50.py')
    model['decode_head'] |= {'in_channels': channels, 'num_classes': classes, 'norm_cfg': _BATCH_NORM}
    model['auxiliary_head'] |= {'in_channels': channels[2], 'num_classes': classes, 'norm_cfg': _BATCH_NORM}
    return model


def _detector(config: str) -> dict[str, Any]:
    preprocessor = _preprocessor('DetDataPreprocessor', pad_size_divisor=32)
    return {'_scope_': 'mmdet', **_stock(config), 'data_preprocessor': preprocessor, 'backbone': _port((0, 1, 2, 3))}


def _segmentor(config: str) -> dict[str, Any]:
    preprocessor = _preprocessor('SegDataPreProcessor', size=Name('(size, size)'), seg_pad_val=255)
    model = {'_scope_': 'mmseg', **_stock(config), 'data_preprocessor': preprocessor, 'backbone': _port((0, 1, 2, 3))}
    del model['pretrained']
    return model


def _stock(config: str) -> dict[str, Any]:
    """Return the model of a config of an installed library, as plain data without scopes."""
    return _without_scopes(get_config(config).model.to_dict())


def _without_scopes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_scopes(item) for key, item in value.items() if key != '_scope_'}
    return [_without_scopes(item) for item in value] if isinstance(value, list) else value


def _preprocessor(kind: str, **settings: Any) -> dict[str, Any]:
    return {'type': kind, **settings, SPREAD: Name('normalization')}


def _port(levels: tuple[int, ...]) -> dict[str, Any]:
    """Return the backbone that the task's port replaces, which keeps ``out_indices``."""
    return {'type': 'ResNet', 'depth': 18, 'out_indices': levels}
