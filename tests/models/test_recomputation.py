"""Blocks that recompute train as those that keep everything, whatever library they are of."""

import copy

import pytest
import torch

from xlearner_mm.models.recomputation import recompute_as_plain
from xlearner_mm.registry import MODELS

NARROW = dict(depth=50, stem_channels=8, base_channels=4, out_indices=(0, 1, 2, 3))
TRANSFORMER = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=2)
BACKBONES = {
    'mmdet ResNet': dict(_scope_='mmdet', type='ResNet', norm_eval=False, **NARROW),
    'mmdet ResNeXt with plugin': dict(
        _scope_='mmdet',
        type='ResNeXt',
        norm_eval=False,
        groups=2,
        base_width=4,
        plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.5), position='after_conv3')],
        **NARROW,
    ),
    'mmseg ResNetV1d': dict(_scope_='mmseg', type='ResNetV1d', **NARROW),
    'mmpretrain ResNet-18': dict(_scope_='mmpretrain', type='ResNet', **{**NARROW, 'depth': 18}),
    'mmdet Swin': dict(_scope_='mmdet', type='SwinTransformer', **TRANSFORMER),
    'mmpretrain ConvNeXt': dict(
        _scope_='mmpretrain',
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.5,
    ),
}


def build(config, **settings):
    torch.manual_seed(0)
    backbone = MODELS.build({**config, **settings})
    for parameter in backbone.parameters():  # residual branches that start at nought would hide what they compute
        torch.nn.init.normal_(parameter, std=0.2)
    backbone.train()
    return backbone


def after_two_passes(backbone):
    """Gradients and state of a backbone that runs on images of two sizes in one step."""
    torch.manual_seed(1)
    images = [torch.randn(2, 3, size, 64) for size in (64, 96)]
    sum(level.square().mean() for x in images for level in backbone(x)).backward()
    return {name: p.grad for name, p in backbone.named_parameters()}, backbone.state_dict()


def assert_same(found, wanted):
    for own, other in zip(found, wanted, strict=True):
        assert own.keys() == other.keys()
        for name, value in other.items():
            torch.testing.assert_close(own[name], value, msg=lambda text, name=name: f'{name}: {text}')


@pytest.mark.parametrize('config', BACKBONES.values(), ids=BACKBONES.keys())
def test_gradients_and_statistics_are_those_of_a_backbone_that_keeps_everything(config):
    recomputing = build(config, with_cp=True)
    assert recompute_as_plain(recomputing)
    assert_same(after_two_passes(recomputing), after_two_passes(build(config)))


@pytest.mark.parametrize('config', BACKBONES.values(), ids=BACKBONES.keys())
def test_its_blocks_run_once_more_in_the_backward_pass(config):
    def runs(**settings):
        backbone, seen = build(config, **settings), []
        recompute_as_plain(backbone)
        for layer in backbone.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(lambda *_: seen.append(1))
        after_two_passes(backbone)
        return len(seen)

    assert runs() < runs(with_cp=True) <= 2 * runs()


def test_a_copy_recomputes_its_own_blocks():
    """MMEngine's EMAHook makes one."""
    backbone = build(BACKBONES['mmdet ResNet'], with_cp=True)
    recompute_as_plain(backbone)
    copied = copy.deepcopy(backbone)
    after_two_passes(copied)
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert all(parameter.grad is not None for parameter in copied.parameters())


def test_a_backbone_that_keeps_everything_is_left_as_it_is():
    backbone = build(BACKBONES['mmdet ResNet'])
    assert not recompute_as_plain(backbone)
    assert not any('forward' in vars(module) for module in backbone.modules())
