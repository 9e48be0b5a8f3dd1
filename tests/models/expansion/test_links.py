"""Links, the widths that pruning may narrow, and backbones that are rebuilt from their record."""

import copy

import pytest
import torch
from torch import nn

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.expansion.links import inner_widths, narrow_as, narrow_to
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet

from .reference import randomise

NARROW = {
    'branches.cls.backbone.layer1.0.conv1': 3,
    'branches.det.backbone.layer4.1.conv1': 7,
    'links.cls_0__det_2.gamma.0.conv': 2,
}


def build(*branches, **kwargs):
    return randomise(MODELS.build(tiny_expanded(*(branches or ('cls', 'det')), **kwargs)))


def build_link(in_channels, out_channels, in_stride, out_stride, kind='ConvLink', **settings):
    ends = dict(in_channels=in_channels, out_channels=out_channels, in_stride=in_stride, out_stride=out_stride)
    return MODELS.build(dict(type=kind, **ends, **settings))


def with_branch(**branch):
    cfg = tiny_expanded('cls', 'det')
    cfg['branches']['cls'] = branch
    return [name for name in inner_widths(MODELS.build(cfg)) if name.startswith('branches.cls')]


def test_prunable_widths_are_those_of_basic_blocks_and_link_chains():
    names = set(inner_widths(build()))
    blocks = {f'branches.{t}.backbone.layer{i}.{j}.conv1' for t in ('cls', 'det') for i in range(1, 5) for j in (0, 1)}
    chains = {'links.cls_0__det_2.gamma.0.conv', 'links.det_0__cls_2.gamma.0.conv'}
    assert names == blocks | chains


def test_prunable_widths_of_a_bottleneck_are_the_first_two():
    names = with_branch(**tiny_resnet(depth=50))
    assert len(names) == 2 * 16
    assert {name.split('.')[-1] for name in names} == {'conv1', 'conv2'}


@pytest.mark.parametrize(
    'branch',
    [
        dict(_scope_='mmdet', type='ResNeXt', depth=50, groups=2, base_width=4, base_channels=8),
        dict(_scope_='mmdet', type='Res2Net', depth=50, scales=4, base_width=26),
        tiny_resnet(norm_cfg=dict(type='GN', num_groups=2)),
    ],
    ids=['grouped', 'split', 'group norm'],
)
def test_blocks_that_share_or_mix_their_channels_otherwise_have_none(branch):
    assert with_branch(**branch) == []


def test_dropping_channels_that_give_nothing_changes_no_feature():
    backbone, x = build().eval(), torch.randn(2, 3, 64, 64)
    for width in inner_widths(backbone).values():
        width.norm.weight.data[1] = 0
        width.norm.bias.data[1] = -1
    narrowed = copy.deepcopy(backbone)
    for width in inner_widths(narrowed).values():
        width.keep(torch.tensor([i for i in range(width.channels) if i != 1]))
    assert sum(p.numel() for p in narrowed.parameters()) < sum(p.numel() for p in backbone.parameters())
    for mine, whole in zip(narrowed(x), backbone(x), strict=True):
        torch.testing.assert_close(mine, whole, atol=1e-5, rtol=1e-5)


def test_a_narrowed_backbone_keeps_its_levels_and_trains():
    backbone = build(widths=NARROW)
    features = backbone(torch.randn(2, 3, 64, 64))
    assert [f.shape[1] for f in features] == list(build().out_channels)
    sum(f.square().mean() for f in features).backward()
    assert all(p.grad.shape == p.shape for p in backbone.parameters() if p.grad is not None)


def test_the_record_rebuilds_the_backbone_with_equal_features(tmp_path):
    backbone, x = build(widths=NARROW).eval(), torch.randn(2, 3, 64, 64)
    assert backbone.widths == NARROW
    torch.save({'state_dict': backbone.state_dict()}, tmp_path / 'backbone.pth')
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'))
    again = MODELS.build(tiny_expanded('cls', 'det', widths=backbone.widths, init_cfg=start)).eval()
    again.init_weights()
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again(x), backbone(x), strict=True))


@pytest.mark.parametrize(
    ('widths', 'message'),
    [
        (
            {'branches.cls.backbone.layer1.0.conv2': 3},
            r"\['branches.cls.backbone.layer1.0.conv2'\] are not inner widths",
        ),
        ({'branches.seg.backbone.layer1.0.conv1': 3}, 'of other branches'),
        ({'branches.cls.backbone.layer1.0.conv1': 5}, 'has 4 channels and cannot have 5'),
        ({'branches.cls.backbone.layer1.0.conv1': 0}, 'has 4 channels and cannot have 0'),
    ],
)
def test_widths_that_a_backbone_cannot_have_are_refused(widths, message):
    with pytest.raises(ConfigError, match=message):
        narrow_to(build(), widths)


def test_unpruned_checkpoints_prune_nothing_and_other_backbones_are_refused():
    backbone = build()
    for meta in ({}, {'meta': {'xlearner': {'backbone': {'type': 'XLearnerResNet'}}}}):
        narrow_as(backbone, meta)
    assert backbone.widths == {}
    with pytest.raises(CheckpointError, match='checkpoint.*another expanded backbone.*pruned'):
        narrow_as(backbone, {'meta': {'xlearner': {'backbone': {'widths': {'branches.x.conv1': 1}}}}})


@pytest.mark.parametrize('link', ['ConvLink', 'BottleneckLink', 'PoolLink'])
@pytest.mark.parametrize(('in_stride', 'out_stride'), [(4, 4), (4, 8), (4, 32), (16, 4)])
def test_a_new_link_adds_nothing_and_has_the_receivers_shape(link, in_stride, out_stride):
    gamma = build_link(6, 10, in_stride, out_stride, link)
    gamma.init_weights()
    size = (64 // out_stride, 96 // out_stride)
    out = gamma(torch.randn(2, 6, 64 // in_stride, 96 // in_stride), size)
    assert out.shape == (2, 10, *size)
    assert out.abs().max() == 0


def test_a_new_link_can_learn():
    gamma = build_link(6, 10, 4, 16)
    gamma.init_weights()
    gamma(torch.randn(2, 6, 16, 16), (4, 4)).square().mean().backward()
    out = gamma(torch.randn(2, 6, 16, 16), (4, 4))
    (out * torch.randn_like(out)).sum().backward()
    assert list(gamma.parameters())[-2].grad.abs().sum() > 0


def test_pooling_links_need_a_fraction_of_the_parameters():
    def size(link):
        return sum(p.numel() for p in build_link(64, 256, 4, 16, link).parameters())

    assert size('PoolLink') < size('ConvLink') / 5


def test_bottleneck_links_run_their_chain_at_a_fraction_of_the_width():
    link = build_link(64, 256, 4, 16, 'BottleneckLink')
    shapes = [tuple(module.weight.shape) for module in link.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [(16, 64, 1, 1), (16, 16, 3, 3), (16, 16, 3, 3), (256, 16, 1, 1)]
    assert [width.channels for _, width in link.inner_widths()] == [16, 16, 16]


@pytest.mark.parametrize('reduction', [0, 7])
def test_a_reduction_that_leaves_no_channel_is_refused(reduction):
    with pytest.raises(ConfigError, match=f'BottleneckLink.*{reduction}.*6 channels'):
        build_link(6, 10, 4, 4, 'BottleneckLink', reduction=reduction)


def test_strides_that_are_no_power_of_two_apart_are_refused():
    with pytest.raises(ConfigError, match='stride 4 to stride 12.*power of two'):
        build_link(4, 4, 4, 12)
