"""Blocks that recompute train as those that keep everything, whatever library they are of."""

import copy
from contextlib import nullcontext

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from torch import nn

from xlearner_mm.models.norms import ModuleState, is_batch_norm, parts_of, ragged, ragged_forwards
from xlearner_mm.models.recomputation import recompute_as_plain, recompute_named
from xlearner_mm.registry import MODELS

from .mmcv_sync_bn import on_cpu

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


NORMS = ['BN', 'torch SyncBN', 'mmcv SyncBN', 'GN', 'BN without running statistics', 'BN that averages all batches']


def build(config, **settings):
    torch.manual_seed(0)
    backbone = MODELS.build({**config, **settings})
    for parameter in backbone.parameters():  # residual branches that start at nought would hide what they compute
        torch.nn.init.normal_(parameter, std=0.2)
    backbone.train()
    return backbone


def with_norm(norm, config, **settings):
    """A backbone with a norm, put in place as configs and `sync_bn` put it."""
    if norm == 'GN':
        settings['norm_cfg'] = dict(type='GN', num_groups=2)
    elif norm.startswith('BN '):
        own = dict(momentum=None) if 'averages' in norm else dict(track_running_stats=False)
        settings['norm_cfg'] = dict(type='BN', **own)
    backbone = build(config, **settings)
    return convert_sync_batchnorm(backbone, norm.split()[0]) if norm.endswith('SyncBN') else backbone


def after_two_passes(backbone):
    """Gradients and state of a backbone that runs on images of two sizes in one step."""
    torch.manual_seed(1)
    images = [torch.randn(2, 3, size, 64) for size in (64, 96)]
    sum(level.square().mean() for x in images for level in backbone(x)).backward()
    return {name: p.grad for name, p in backbone.named_parameters()}, backbone.state_dict()


def after_a_joint_pass(backbone):
    """The same where all images are one batch."""
    torch.manual_seed(1)
    x = ragged([torch.randn(2, 3, size, 64) for size in (64, 96)])
    with ragged_forwards(backbone, x):
        levels = backbone(x)
    sum(part.square().mean() for level in levels for part in parts_of(level)).backward()
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


@pytest.mark.parametrize('step', [after_two_passes, after_a_joint_pass])
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('config', [BACKBONES['mmdet ResNet'], BACKBONES['mmpretrain ResNet-18']], ids=['mmdet', '18'])
def test_gradients_are_equal_with_every_norm_in_configs(config, norm, step, tmp_path):
    with on_cpu(tmp_path) if norm == 'mmcv SyncBN' else nullcontext():
        recomputing, plain = with_norm(norm, config, with_cp=True), with_norm(norm, config)
        assert recompute_as_plain(recomputing)
        assert_same(step(recomputing), step(plain))
    assert any(is_batch_norm(module) for module in plain.modules()) == (norm != 'GN')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('step', [after_two_passes, after_a_joint_pass])
def test_gradients_are_equal_on_a_gpu(norm, step, tmp_path):
    torch.set_default_device('cuda')
    alone = on_cpu(tmp_path) if norm == 'mmcv SyncBN' else nullcontext()
    try:
        with alone:
            recomputing, plain = (with_norm(norm, BACKBONES['mmdet ResNet'], with_cp=cp) for cp in (True, False))
            recompute_as_plain(recomputing)
            assert_same(step(recomputing), step(plain))
    finally:
        torch.set_default_device('cpu')


class KeepsATrace(nn.Module):
    """A block whose output depends on a buffer that every pass moves."""

    def __init__(self):
        super().__init__()
        self.with_cp = True
        self.conv = nn.Conv2d(3, 3, 1)
        self.register_buffer('trace', torch.ones(()))

    def forward(self, x):
        self.trace = self.trace * 2
        return (self.conv(x) * self.trace).square()


def test_recomputation_uses_the_state_of_the_forward_pass():
    block = KeepsATrace()
    plain = copy.deepcopy(block)
    recompute_as_plain(block)
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    for own in (block, plain):
        first = own(x)
        (first.sum() + own(first).sum()).backward()
    torch.testing.assert_close(block.conv.weight.grad, plain.conv.weight.grad)
    assert block.trace == 4


def test_an_installed_state_keeps_later_updates():
    norm = nn.BatchNorm2d(3)
    running, x = norm.running_mean, torch.randn(2, 3, 4, 4)
    state = ModuleState(norm.modules())
    norm.eval()
    with state.installed():
        assert norm.training
        norm(x)
    assert norm.running_mean is running
    assert not norm.training
    assert not running.any()
    assert norm.num_batches_tracked == 0


def test_activation_checkpointing_of_mmengine_trains_alike():
    """Its own wrapper takes every batch into the statistics twice."""
    plain = build(BACKBONES['mmdet ResNet'])
    backbone, names = copy.deepcopy(plain), ['layer1', 'layer2.0']
    turn_on_activation_checkpointing(backbone, names)
    recompute_named(backbone, names)
    seen = []
    backbone.layer1[0].conv1.register_forward_hook(lambda *_: seen.append(1))
    assert_same(after_two_passes(backbone), after_two_passes(plain))
    assert len(seen) == 4, 'two passes, each once more'


@pytest.mark.parametrize('config', BACKBONES.values(), ids=BACKBONES.keys())
def test_recomputed_blocks_run_once_more_in_the_backward_pass(config):
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


def test_a_backbone_without_recomputation_is_unchanged():
    backbone = build(BACKBONES['mmdet ResNet'])
    assert not recompute_as_plain(backbone)
    assert not any('forward' in vars(module) for module in backbone.modules())
