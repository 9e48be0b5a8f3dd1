"""Weights of classes are as many as a head has outputs, in every library, when the network is built."""

import pytest
from mmengine.config import ConfigDict

from xlearner_mm.errors import SourceError
from xlearner_mm.models import ExpansionLearner
from xlearner_mm.models.class_weights import check_class_weights
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_classifier, tiny_detector, tiny_expanded, tiny_segmentor, tiny_sources

# name -> (network, its head, setting of the loss, a loss that takes lists, the number that is right)
HEADS = {
    'mmpretrain softmax': (tiny_classifier(5), 'head', 'loss', dict(type='CrossEntropyLoss', class_weight=None), 5),
    'mmpretrain sigmoid': (
        tiny_classifier(5),
        'head',
        'loss',
        dict(type='CrossEntropyLoss', use_sigmoid=True, pos_weight=None),
        5,
    ),
    'mmseg softmax': (
        tiny_segmentor(4),
        'decode_head',
        'loss_decode',
        dict(type='CrossEntropyLoss', class_weight=None),
        4,
    ),
    'mmseg focal': (tiny_segmentor(4), 'decode_head', 'loss_decode', dict(type='FocalLoss', alpha=None), 4),
    'mmseg dice beside': (
        tiny_segmentor(4),
        'decode_head',
        'loss_decode',
        [dict(type='DiceLoss'), dict(type='TverskyLoss', class_weight=None)],
        4,
    ),
    'mmdet sigmoid': (
        tiny_detector(3),
        'bbox_head',
        'loss_cls',
        dict(type='CrossEntropyLoss', use_sigmoid=True, class_weight=None),
        3,
    ),
    'mmdet softmax': (tiny_detector(3), 'bbox_head', 'loss_cls', dict(type='CrossEntropyLoss', class_weight=None), 4),
}


def built(case, count):
    network, head, setting, loss, _ = HEADS[case]
    losses = [{k: [1.0] * count if v is None else v for k, v in each.items()} for each in listed(loss)]
    settings = {**network, head: {**network[head], setting: losses if isinstance(loss, list) else losses[0]}}
    return MODELS.build(ConfigDict(settings))


def listed(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize('case', HEADS)
def test_another_number_of_weights_than_classes_is_refused_before_the_first_step(case):
    right = HEADS[case][-1]
    check_class_weights("source 'x'", built(case, right))
    for wrong in (right - 1, right + 1):
        with pytest.raises(
            SourceError, match=rf"source 'x': {HEADS[case][1]}\.loss.* has {wrong} values.* needs .*{right}"
        ):
            check_class_weights("source 'x'", built(case, wrong))


def test_class_weights_are_checked_per_head_of_a_two_stage_detector():
    weights = dict(type='CrossEntropyLoss', class_weight=[1.0] * 3)
    roi = dict(
        type='Shared2FCBBoxHead', num_classes=3, in_channels=8, fc_out_channels=8, roi_feat_size=1, loss_cls=weights
    )
    settings = dict(_scope_='mmdet', type='StandardRoIHead', bbox_roi_extractor=None, bbox_head=dict(roi))
    extractor = dict(
        type='SingleRoIExtractor', roi_layer=dict(type='RoIPool', output_size=1), out_channels=8, featmap_strides=[8]
    )
    head = MODELS.build(ConfigDict({**settings, 'bbox_roi_extractor': extractor}))
    with pytest.raises(
        SourceError, match=r'bbox_head\.loss_cls\.class_weight has 3 values, but .* of 3 classes needs 4'
    ):
        check_class_weights('model', head)


def test_a_loss_that_counts_other_classes_than_its_head_is_refused():
    network = tiny_classifier(5)
    network['head'] = {**network['head'], 'loss': dict(type='SeesawLoss', num_classes=1203)}
    with pytest.raises(SourceError, match=r'head\.loss.*num_classes is 1203, but LinearClsHead has 5 classes'):
        check_class_weights('model', MODELS.build(ConfigDict(network)))


def test_the_learner_names_the_source():
    sources = tiny_sources()
    sources['masks']['network']['decode_head']['loss_decode'] = dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])
    with pytest.raises(
        SourceError, match=r"source 'masks': decode_head\.loss_decode\.class_weight has 2 values.* needs 4"
    ):
        ExpansionLearner(tiny_expanded(), sources)
