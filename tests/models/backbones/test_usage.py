"""Use of a backbone with another normalization or style than in training is refused, in any runner."""

import pytest
import torch

from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.backbones import XLearnerResNet
from xlearner_mm.models.backbones.xlearner_resnet import preprocessors_around
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet

RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
CAFFE = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0])
WIDTHS = [16, 32, 64, 128]
NETWORKS = {
    'mmdet': dict(
        type='RetinaNet',
        neck=dict(type='FPN', in_channels=WIDTHS, out_channels=4, num_outs=5),
        bbox_head=dict(type='RetinaHead', num_classes=2, in_channels=4, feat_channels=4),
    ),
    'mmseg': dict(
        type='EncoderDecoder', decode_head=dict(type='FCNHead', in_channels=WIDTHS[-1], channels=4, num_classes=2)
    ),
    'mmpretrain': dict(type='ImageClassifier'),
}
PREPROCESSORS = {
    'mmdet': dict(type='DetDataPreprocessor', bgr_to_rgb=True, **RGB),
    'mmseg': dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=(64, 64), **RGB),
    'mmpretrain': dict(type='ClsDataPreprocessor', to_rgb=True, **RGB),
}


@pytest.fixture
def export(tmp_path):
    """A bottleneck backbone as the export writes it, trained on RGB images with ImageNet's statistics."""
    cfg = tiny_resnet(depth=50)
    meta = dict(backbone=cfg, normalization=[RGB['mean'], RGB['std'], 'rgb'])
    path = str(tmp_path / 'backbone.pth')
    torch.save({'state_dict': MODELS.build(cfg).state_dict(), 'meta': meta}, path)
    return path


def start(path, library='mmdet', preprocessor=None, style='pytorch', **init):
    """Build a stock network around the backbone and initialize its weights, as a runner does."""
    init_cfg = dict(type='Pretrained', checkpoint=path, **init)
    network = MODELS.build(
        dict(
            **NETWORKS[library],
            backbone=tiny_resnet(depth=50, style=style, init_cfg=init_cfg),
            data_preprocessor={**PREPROCESSORS[library], **(preprocessor or {})},
            _scope_=library,
        )
    )
    network.init_weights()
    return network


@pytest.mark.parametrize('library', NETWORKS)
def test_equal_images_are_accepted(export, library):
    assert isinstance(start(export, library).backbone, XLearnerResNet)


@pytest.mark.parametrize('library', NETWORKS)
def test_caffe_style_images_are_an_error_that_names_both(export, library):
    channels = 'to_rgb' if library == 'mmpretrain' else 'bgr_to_rgb'
    with pytest.raises(CheckpointError, match=r'backbone.pth .*mean \[123.675.*gives \(mean \[103.53'):
        start(export, library, {**CAFFE, channels: False})


def test_swapped_channels_alone_are_an_error(export):
    with pytest.raises(CheckpointError, match='channels rgb.*taken for BGR.*channels bgr.*bgr_to_rgb=True in'):
        start(export, 'mmdet', dict(bgr_to_rgb=False))


def test_a_bottleneck_of_another_style_is_refused(export):
    with pytest.raises(CheckpointError, match="trained with style='pytorch', but .* Set style='pytorch'"):
        start(export, style='caffe')


def test_blocks_without_a_style_are_not_asked_for_it(tmp_path):
    cfg = tiny_resnet()
    path = str(tmp_path / 'backbone.pth')
    torch.save({'state_dict': MODELS.build(cfg).state_dict(), 'meta': dict(backbone=cfg)}, path)
    net = MODELS.build(tiny_resnet(style='caffe', init_cfg=dict(type='Pretrained', checkpoint=path)))
    net.init_weights()
    assert net.style == 'caffe'


def test_another_normalization_is_accepted_on_request(export):
    assert start(export, 'mmdet', dict(bgr_to_rgb=False, **CAFFE), style='caffe', as_trained=False)


def test_a_network_that_normalizes_in_its_pipeline_cannot_be_checked_and_passes(export):
    assert start(export, 'mmdet', dict(mean=None, std=None, bgr_to_rgb=False))


def test_a_checkpoint_without_metadata_is_accepted(export):
    torch.save({'state_dict': torch.load(export, weights_only=True)['state_dict']}, export)
    assert start(export, 'mmdet', dict(bgr_to_rgb=False, **CAFFE))


def test_the_record_of_a_squeeze_checkpoint_is_used(export):
    content = torch.load(export, weights_only=True)
    state = {f'student.{key}': value for key, value in content['state_dict'].items()}
    torch.save({'state_dict': state, 'meta': {'xlearner': content['meta']}}, export)
    with pytest.raises(CheckpointError, match=r'normalization \(mean \[123.675'):
        start(export, 'mmdet', CAFFE)


def test_the_network_is_found_around_wrappers_and_modules_between(export):
    network = start(export, 'mmdet')
    assert preprocessors_around(network.backbone) == [network.data_preprocessor]
    between = torch.nn.Module()
    between.inner = MODELS.build(tiny_resnet())
    outer = torch.nn.Module()
    outer.data_preprocessor = MODELS.build({**PREPROCESSORS['mmdet'], '_scope_': 'mmdet'})
    outer.between = between
    assert preprocessors_around(between.inner) == [outer.data_preprocessor]
    assert preprocessors_around(MODELS.build(tiny_resnet())) == []
