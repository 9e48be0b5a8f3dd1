"""An init_cfg beside the `pretrained` that mmseg's stock configs hand down to their backbone."""

import pytest
import torch
from mmengine.config import ConfigDict

from xlearner_mm.errors import ConfigError
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet


@pytest.fixture
def saved(tmp_path):
    """A plain tiny ResNet and its file."""
    net = MODELS.build(tiny_resnet())
    net.init_weights()
    path = str(tmp_path / 'backbone.pth')
    torch.save(net.state_dict(), path)
    return net, path


def segmentor(pretrained, backbone):
    """mmseg's stock segmentor, which hands `pretrained` down."""
    head = dict(type='FCNHead', in_channels=32, channels=4, num_classes=2)
    cfg = dict(type='EncoderDecoder', pretrained=pretrained, backbone=backbone, decode_head=head, _scope_='mmseg')
    return MODELS.build(ConfigDict(cfg))


def test_the_backbones_init_cfg_wins_and_is_logged(saved, logged):
    net, path = saved
    backbone = tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=path))
    network = segmentor('torchvision://resnet18', backbone)
    network.init_weights()
    assert torch.equal(network.backbone.conv1.weight, net.conv1.weight)
    [(level, line)] = logged()
    assert level == 'INFO'
    assert line == f"XLearnerResNet: init_cfg's {path} is loaded in place of pretrained='torchvision://resnet18'"


@pytest.mark.parametrize(
    ('name', 'deep'),
    [
        ('open-mmlab://resnet50_v1c', 'V1c'),
        ('pretrain/resnet18_v1c-b5776b93.pth', 'V1c'),
        ('https://there/resnetv1d50_b32x8_imagenet_20210531-db14775a.pth', 'V1d'),
    ],
)
def test_a_plain_stem_in_a_config_for_a_deep_one_is_logged(saved, logged, name, deep):
    network = segmentor(name, tiny_resnet(init_cfg=dict(type='Pretrained', checkpoint=saved[1])))
    network.init_weights()
    (_, (level, line)) = logged()
    assert level == 'WARNING'
    assert f"for the deep stem of ResNet{deep}, as pretrained='{name}'" in line
    assert f"type='XLearnerResNet{deep}' is the deep one" in line


def test_a_deep_stem_config_for_a_deep_stem_is_not_logged(saved, logged):
    start = dict(type='Pretrained', checkpoint=saved[1])
    segmentor('open-mmlab://resnet50_v1c', tiny_resnet(type='XLearnerResNetV1c', init_cfg=start))
    assert [level for level, _ in logged()] == ['INFO']


def test_pretrained_alone_is_the_checkpoint(saved, logged):
    net, path = saved
    network = segmentor(path, tiny_resnet())
    network.init_weights()
    assert torch.equal(network.backbone.conv1.weight, net.conv1.weight)
    assert not logged()


def test_pretrained_beside_an_init_cfg_without_checkpoint_is_an_error():
    with pytest.raises(ConfigError, match=r"init_cfg and pretrained='a\.pth' cannot both .* or set pretrained=None"):
        XLearnerResNet(18, pretrained='a.pth', init_cfg=dict(type='Kaiming', layer='Conv2d'))


def test_two_checkpoints_are_an_error():
    starts = [dict(type='Pretrained', checkpoint=name) for name in ('a.pth', 'b.pth')]
    with pytest.raises(ConfigError, match='more than one Pretrained checkpoint'):
        XLearnerResNet(18, init_cfg=starts)
