"""Images of several sizes in one batch: as if they could be one tensor."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.norms import (
    Ragged,
    RaggedError,
    each,
    is_batch_norm,
    joint_groups,
    parts_of,
    ragged,
    ragged_forwards,
)
from xlearner_mm.registry import MODELS

from .mmcv_sync_bn import on_cpu

NARROW = dict(depth=50, stem_channels=8, base_channels=8)
HR = dict(num_modules=1, block='BASIC')
BACKBONES = {
    'mmpretrain ResNet-18': dict(_scope_='mmpretrain', type='ResNet', **{**NARROW, 'depth': 18}, out_indices=(1, 3)),
    'mmdet ResNet with plugin': dict(
        _scope_='mmdet',
        type='ResNet',
        norm_eval=False,
        plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.5), position='after_conv3')],
        **NARROW,
    ),
    'mmdet ResNet with deformable convolutions': dict(
        _scope_='mmdet',
        type='ResNet',
        norm_eval=False,
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        **NARROW,
    ),
    'mmdet Res2Net': dict(
        _scope_='mmdet', type='Res2Net', depth=50, scales=4, base_width=4, base_channels=8, norm_eval=False
    ),
    'mmdet ResNeSt': dict(_scope_='mmdet', type='ResNeSt', radix=2, avg_down_stride=True, norm_eval=False, **NARROW),
    'mmdet HRNet': dict(
        _scope_='mmdet',
        type='HRNet',
        norm_eval=False,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(8,)),
            stage2=dict(num_branches=2, num_blocks=(1, 1), num_channels=(4, 8), **HR),
            stage3=dict(num_branches=3, num_blocks=(1, 1, 1), num_channels=(4, 8, 16), **HR),
            stage4=dict(num_branches=4, num_blocks=(1, 1, 1, 1), num_channels=(4, 8, 16, 32), **HR),
        ),
    ),
    'mmpretrain MobileNetV2': dict(_scope_='mmpretrain', type='MobileNetV2', widen_factor=0.25, out_indices=(2, 6)),
    'mmseg ResNetV1d': dict(_scope_='mmseg', type='ResNetV1d', **NARROW),
}


def build(config):
    torch.manual_seed(0)
    network = MODELS.build(config).double()
    network.train()  # not chained: some stock backbones' own returns nothing
    return network


def run(network, x):
    with ragged_forwards(network, x):
        outputs = network(x)
    return outputs if isinstance(outputs, tuple | list) else (outputs,)


def outcome(network, x):
    """Outputs, gradients and statistics after a step on images ``(B, 3, H, W)`` or their parts."""
    outputs = [torch.cat(parts_of(output)) for output in run(network, x)]
    sum(output.square().mean() for output in outputs).backward()
    return [*outputs, *(p.grad for p in network.parameters() if p.grad is not None), *network.buffers()]


@pytest.mark.parametrize('config', BACKBONES.values(), ids=BACKBONES.keys())
def test_parts_of_one_size_are_one_batch(config):
    """Outputs, gradients and running statistics, of stock backbones as they are."""
    network, images = build(config), torch.randn(3, 3, 64, 64, dtype=torch.float64)
    plain = copy.deepcopy(network)
    wanted, found = outcome(plain, images), outcome(network, ragged([images[:2], images[2:]]))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
    assert not any('forward' in vars(module) for module in network.modules()), 'left as it was'


@pytest.mark.parametrize('config', BACKBONES.values(), ids=BACKBONES.keys())
def test_parts_of_any_sizes_run_once_through_every_norm(config):
    network, seen = build(config), []
    norms = [module for module in network.modules() if is_batch_norm(module)]
    for norm in norms:
        norm.register_forward_hook(lambda norm, *_: seen.append(norm))
    run(network, ragged([torch.randn(2, 3, *size, dtype=torch.float64) for size in ((64, 64), (96, 64), (64, 128))]))
    assert sorted(map(id, seen)) == sorted(map(id, norms))


@pytest.mark.parametrize('norm', [nn.BatchNorm2d(4), nn.SyncBatchNorm(4)], ids=str)
def test_statistics_are_those_of_all_positions(norm):
    """Every position of every image counts once, in what is normalized and in what evaluation will use."""
    x = ragged([torch.randn(2, 4, 8, 6) * 3, torch.randn(1, 4, 16, 16) + 2])
    positions = torch.cat([part.transpose(0, 1).flatten(1) for part in x.parts], dim=1)
    mean, std = positions.mean(1), (positions.var(1, unbiased=False) + norm.eps).sqrt()
    (out,) = run(norm.train(), x)
    for part, normalized in zip(x.parts, out.parts, strict=True):
        torch.testing.assert_close(normalized, (part - mean[:, None, None]) / std[:, None, None], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * positions.var(1))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(
    ('norm', 'shapes'),
    [
        (nn.BatchNorm1d(4), [(2, 4), (3, 4)]),
        (nn.BatchNorm1d(4), [(2, 4, 5), (1, 4, 7)]),
        (nn.BatchNorm3d(4), [(1, 4, 2, 2, 3), (2, 4, 2, 3, 3)]),
    ],
    ids=str,
)
def test_norms_of_any_dimension(norm, shapes):
    x = ragged([torch.randn(shape) for shape in shapes])
    (out,) = run(norm.train(), x)
    assert [part.shape for part in out.parts] == [part.shape for part in x.parts]
    positions = torch.cat([part.transpose(0, 1).flatten(1) for part in out.parts], dim=1)
    torch.testing.assert_close(positions.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(positions.var(1, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_norms_that_would_weigh_ranks_by_images_are_refused(tmp_path):
    with on_cpu(tmp_path):
        norm = MODELS.build(dict(type='MMSyncBN', num_features=4, stats_mode='N'))
        with pytest.raises(ConfigError, match="stats_mode='N' .*ranks.*images"):
            run(norm, X)


def test_in_place_activations_after_a_norm():
    network = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)).train()
    (out,) = run(network, ragged([torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(1, 4, 8, 6)]))
    sum(part.sum() for part in out.parts).backward()
    assert all((part >= 0).all() for part in out.parts)


def test_norms_in_eval_mode_normalize_each_part_separately():
    norm = nn.BatchNorm2d(4).eval()
    x = ragged([torch.randn(2, 4, 8, 6), torch.randn(1, 4, 6, 8)])
    (out,) = run(norm, x)
    assert all(torch.equal(own, norm(part)) for own, part in zip(out.parts, x.parts, strict=True))


X = ragged([torch.randn(2, 4, 6, 6), torch.randn(3, 4, 8, 6)])


@pytest.mark.parametrize(
    'compute',
    [
        lambda x: x + 1,
        lambda x: 2 - x,
        lambda x: x * torch.ones(4, 1, 1),
        lambda x: torch.ones(4, 1, 1) * x,
        lambda x: -x / (x.abs() + 1),
        lambda x: F.relu(x, inplace=False) + x.mean((2, 3), keepdim=True),
        lambda x: torch.cat([x, x], dim=1).chunk(2, dim=1)[0],
        lambda x: torch.cat(torch.split(x, 2, 1), 1),
        lambda x: F.interpolate(x[..., ::2, ::2], size=x.shape[-2:]),
        lambda x: x.view(x.size(0), 2, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape),
        lambda x: x.flatten(2).softmax(-1).view(x.shape[0], x.shape[1], x.size(2), x.size()[3]),
        lambda x: F.adaptive_avg_pool2d(x, 1).expand_as(x),
        lambda x: x[:, :, : x.shape[2] // 2],
        lambda x: torch.where(x > 0, x, x.detach()),
        lambda x: x.max(dim=1)[0],
    ],
)
def test_functions_apply_to_every_part_as_to_a_batch(compute):
    found = compute(X)
    assert isinstance(found, Ragged)
    for part, own in zip(X.parts, found.parts, strict=True):
        torch.testing.assert_close(own, compute(part))


def test_in_place_operators_change_the_parts():
    x = ragged([part.clone() for part in X.parts])
    parts = x.parts
    x += X
    x[:, 0] = 0
    assert all(own is part for own, part in zip(x.parts, parts, strict=True))
    torch.testing.assert_close(parts[1][:, 1:], 2 * X.parts[1][:, 1:])
    assert not parts[0][:, 0].any()


def test_attributes_of_parts_must_agree():
    assert (X.shape[1], X.dim(), X.dtype, X.requires_grad) == (4, 4, torch.float32, False)
    assert (X.shape[3], parts_of(X.shape[2])) == (6, (6, 8))
    assert X.shape[2] % 2 == 0
    for ask, value in ((len, X), (list, X), (range, X.shape[2])):
        with pytest.raises(TypeError):
            ask(value)
    with pytest.raises(RaggedError, match=r'differs: Ragged\(\[False, True\]\)'):
        assert X.shape[2] == 8


def test_custom_functions_run_once_per_part():
    assert parts_of(each(lambda x, size: (x.shape[2], size[0]), X, X.shape[2:])[0]) == (6, 8)
    assert each(max, 1, 2) == 2
    assert ragged([X.parts[0]]) is X.parts[0]


class NeedsOneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.stack([self.norm(x)[:, :, row] for row in range(x.shape[2])])


def test_code_that_needs_one_size_is_named_with_the_fix():
    network, message = NeedsOneSize(), 'student: images of several sizes cannot run as one batch.*norm_cfg'
    with pytest.raises(ConfigError, match=message), ragged_forwards(network, X, 'student'):
        network(X)
    assert 'forward' not in vars(network.norm)


def test_sources_of_one_image_size_are_one_group():
    inputs = {'a': torch.zeros(2, 3, 8, 8), 'b': torch.zeros(1, 3, 8, 16), 'c': torch.zeros(3, 3, 8, 8)}
    assert joint_groups(inputs) == [['a', 'c'], ['b']]
