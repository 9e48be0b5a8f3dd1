"""The mm format in what OpenMMLab's own libraries load it with."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torchvision.models._utils import IntermediateLayerGetter

from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.export.formats import PlainResNet, plain_resnet_of
from xlearner_mm.export.stored_backbone import StoredBackbone, find_backbone
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(style='caffe'), "style='caffe'"),
        (dict(depth=50, dcn=dict(type='DCNv2'), stage_with_dcn=(False, True, True, True)), "dcn={'type': 'DCNv2'}"),
        (dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv1')]), 'plugins='),
        (dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), r'strides=\(1, 2, 1, 1\)'),
        (dict(dilations=(1, 1, 1, 2)), r'dilations=\(1, 1, 1, 2\)'),
        (dict(norm_cfg=dict(type='GN', num_groups=2)), "norm_cfg={'type': 'GN'"),
        (dict(norm_cfg=dict(type='BN', eps=1e-3)), "'eps': 0.001"),
        (dict(multi_grid=(1, 2)), 'multi_grid='),
        (dict(a_later_setting=True), 'a_later_setting=True'),
        (dict(type='ResNeXt', groups=32), 'it is ResNeXt of depth 18'),
        (dict(depth=9), 'of depth 9'),
    ],
)
def test_settings_that_the_librarys_resnet_lacks_are_refused_by_name(settings, message):
    stored = StoredBackbone('x.pth', tiny_resnet(**settings), {}, {})
    with pytest.raises(CheckpointError, match=f'timm .*hold.*x.pth: .*{message}.*export to mm'):
        plain_resnet_of(stored, 'timm')


def test_an_expanded_backbone_is_refused_as_resnet(trained):
    _, checkpoint = trained(tiny_expanded('cls', 'det'))
    with pytest.raises(CheckpointError, match='torchvision cannot hold .* it is XLearnerExpandedBackbone;'):
        plain_resnet_of(find_backbone(checkpoint, expanded=True), 'torchvision')


def test_training_settings_keep_a_resnet_plain(trained):
    free = dict(frozen_stages=1, norm_eval=True, with_cp=True, norm_cfg=dict(type='SyncBN', requires_grad=False))
    _, checkpoint = trained(tiny_resnet(strides=[1, 2, 2, 2], style='pytorch', **free))
    assert plain_resnet_of(find_backbone(checkpoint), 'timm') == PlainResNet(18, False, False, 4, 4)


LAYERS = {f'layer{i}': i - 1 for i in range(1, 5)}


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvisions_resnet_loads_it_strictly_and_gives_the_same_features(trained, tmp_path, depth):
    backbone, checkpoint = trained(dict(type='XLearnerResNet', depth=depth))
    export_backbone(checkpoint, tmp_path / 'backbone.pth', format='torchvision')
    model = getattr(torchvision.models, f'resnet{depth}')()
    model.fc = torch.nn.Identity()
    model.load_state_dict(torch.load(tmp_path / 'backbone.pth', weights_only=True))
    images = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        theirs = IntermediateLayerGetter(model.eval(), LAYERS)(images)
        for level, ours in enumerate(backbone(images)):
            torch.testing.assert_close(theirs[level], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(base_channels=4), 'a ResNet with base_channels=4, which is 64 there'),
        (dict(deep_stem=True), 'a ResNet with deep_stem=True'),
        (dict(avg_down=True), 'a ResNet with avg_down=True'),
    ],
)
def test_other_widths_and_stems_are_refused_by_name(trained, tmp_path, settings, message):
    _, checkpoint = trained(dict(type='XLearnerResNet', depth=18, **settings))
    with pytest.raises(CheckpointError, match=f'torchvision cannot hold .* {message}'):
        export_backbone(checkpoint, tmp_path / 'backbone.pth', format='torchvision')
    assert not list(tmp_path.glob('backbone*'))


def check_features(backbone, meta, state):
    """The model that the metadata names loads the weights strictly; features_only gives ours at every level."""
    how = meta['format']
    model = timm.create_model(how['model'], **how['kwargs'])
    model.load_state_dict(state)
    images = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        theirs = model.eval().forward_intermediates(images, intermediates_only=True)[1:]
        for other, own in zip(theirs, backbone(images), strict=True):
            torch.testing.assert_close(other, own, rtol=1e-5, atol=1e-5)


def test_timms_resnet50_loads_it_strictly_and_gives_the_same_features(trained, tmp_path):
    backbone, checkpoint = trained(dict(type='XLearnerResNet', depth=50))
    export_backbone(checkpoint, tmp_path / 'backbone.pth', format='timm')
    model = timm.create_model('resnet50', num_classes=0)
    model.load_state_dict(torch.load(tmp_path / 'backbone.pth', weights_only=True))
    images = torch.randn(1, 3, 75, 64)
    with torch.no_grad():
        for ours, theirs in zip(
            backbone(images), model.eval().forward_intermediates(images, intermediates_only=True)[1:], strict=True
        ):
            torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(images), backbone(images)[-1].mean((2, 3)), rtol=1e-5, atol=1e-5)


NARROW = dict(depth=18, base_channels=8)


@pytest.mark.parametrize(
    ('config', 'model', 'kwargs'),
    [
        (dict(type='XLearnerResNet', **NARROW), 'resnet18', {}),
        (
            dict(type='XLearnerResNet', deep_stem=True, avg_down=True, stem_channels=16, **NARROW),
            'resnet18d',
            {'stem_width': 8},
        ),
        (
            dict(type='XLearnerResNet', deep_stem=True, stem_channels=16, **NARROW),
            'resnet18',
            {'stem_type': 'deep', 'stem_width': 8},
        ),
        (dict(type='XLearnerResNet', avg_down=True, **NARROW), 'resnet18', {'avg_down': True}),
        # mmpretrain names the parts of its deep stem otherwise.
        (
            dict(_scope_='mmpretrain', type='ResNetV1d', stem_channels=16, out_indices=(0, 1, 2, 3), **NARROW),
            'resnet18d',
            {'stem_width': 8},
        ),
    ],
)
def test_other_widths_and_deep_stems_say_how_timm_builds_them(trained, tmp_path, config, model, kwargs):
    backbone, checkpoint = trained(config)
    meta = export_backbone(checkpoint, tmp_path / 'backbone.safetensors', format='timm')
    wanted = {'num_classes': 0, 'channels': [8, 16, 32, 64], **kwargs}
    assert meta['format'] == {'name': 'timm', 'model': model, 'kwargs': wanted}
    check_features(backbone, meta, load_file(tmp_path / 'backbone.safetensors'))
    if '_scope_' not in config:
        again = find_backbone(str(tmp_path / 'backbone.safetensors')).build()
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert all(torch.equal(ours, own) for ours, own in zip(again(images), backbone(images), strict=True))


def test_a_plain_stem_of_another_width_is_refused_by_name(trained, tmp_path):
    _, checkpoint = trained(dict(type='XLearnerResNet', stem_channels=8, **NARROW))
    with pytest.raises(CheckpointError, match='timm cannot hold .* stem_channels=8, which is 64 there'):
        export_backbone(checkpoint, tmp_path / 'backbone.pth', format='timm')


@pytest.mark.parametrize(
    ('config', 'levels'),
    [
        (tiny_resnet(), (4, 8, 16, 32)),
        pytest.param(tiny_expanded('cls', 'det'), (8, 16, 32, 64), marks=pytest.mark.slow),
    ],
    ids=['plain', 'expanded'],
)
def test_onnxruntime_gives_the_same_features_of_any_batch_and_size(trained, tmp_path, config, levels):
    backbone, checkpoint = trained(config)
    meta = export_backbone(checkpoint, tmp_path / 'b.onnx', expanded='branches' in config)
    session = onnxruntime.InferenceSession(tmp_path / 'b.onnx', providers=['CPUExecutionProvider'])
    assert meta['channels'] == list(levels)
    for shape in ((1, 3, 64, 64), (5, 3, 33, 130)):
        images = torch.randn(shape)
        theirs = session.run([f'level_{i}' for i in range(4)], {'images': images.numpy()})
        with torch.no_grad():
            for own, other in zip(backbone(images), theirs, strict=True):
                assert other.shape == own.shape
                assert np.abs(other - own.numpy()).max() <= 1e-4 * max(1, float(own.abs().max()))
    described = {entry.key: entry.value for entry in onnx.load(tmp_path / 'b.onnx').metadata_props}
    assert json.loads(described['xlearner']) == json.loads(json.dumps(meta))


def test_a_missing_package_is_named(trained, tmp_path, monkeypatch):
    _, checkpoint = trained(tiny_resnet())
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(CheckpointError, match=r'needs onnxruntime .*pip install -e \.\[export\]'):
        export_backbone(checkpoint, tmp_path / 'b.onnx')
    assert not list(tmp_path.glob('b.onnx*'))


@pytest.mark.slow
def test_a_backbone_that_cannot_take_any_size_is_refused(trained, tmp_path):
    swin = dict(_scope_='mmdet', type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
    _, checkpoint = trained(swin)
    with pytest.raises(CheckpointError, match='SwinTransformer.*one image size.*ONNX'):
        export_backbone(checkpoint, tmp_path / 'b.onnx')
    assert not list(tmp_path.glob('b.onnx*'))


ALL_LEVELS = dict(out_indices=(0, 1, 2, 3))


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_libraries_resnet_loads_it_strictly_and_gives_the_same_features(trained, tmp_path, library):
    backbone, checkpoint = trained(tiny_resnet())
    out = str(tmp_path / 'backbone.pth')
    export_backbone(checkpoint, out)
    config = tiny_resnet(type=f'{library}.ResNet', **ALL_LEVELS)
    strict, started = (
        MODELS.build(config),
        MODELS.build({**config, 'init_cfg': dict(type='Pretrained', checkpoint=out)}),
    )
    strict.load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)
    started.init_weights()
    images = torch.randn(2, 3, 75, 64)
    for stock in (strict, started):
        stock.eval()
        with torch.no_grad():
            for own, theirs in zip(backbone(images), stock(images), strict=True):
                torch.testing.assert_close(theirs, own, rtol=1e-6, atol=1e-6)


def test_an_exported_expanded_backbone_can_be_rebuilt(trained, tmp_path):
    backbone, checkpoint = trained(tiny_expanded('cls', 'det'))
    out = tmp_path / 'expanded.pth'
    meta = export_backbone(checkpoint, out, expanded=True)
    written = torch.load(out, weights_only=True)
    again = MODELS.build(dict(meta['backbone']))
    again.load_state_dict(written['state_dict'], strict=True)
    again.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(own, other) for own, other in zip(backbone(images), again(images), strict=True))
    assert (meta['channels'], meta['strides']) == ([8, 16, 32, 64], [4, 8, 16, 32])
