import pytest
import torchvision
from mmengine.model import convert_sync_batchnorm
from torch import nn

from xlearner_mm.models.expansion.links import inner_widths
from xlearner_mm.models.norms import any_batch_statistics, is_batch_norm, uses_batch_statistics
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources

from .mmcv_sync_bn import on_cpu

MMDET = dict(_scope_='mmdet', type='ResNet', depth=18, stem_channels=4, base_channels=4)


class Renorm(nn.Module):
    """A custom batch norm, not derived from a stock one."""

    def __init__(self):
        super().__init__()
        self.momentum = 0.1
        self.register_buffer('running_mean', None)
        self.register_buffer('running_var', None)


@pytest.fixture
def mmcv_norms(tmp_path):
    with on_cpu(tmp_path):
        yield


@pytest.mark.parametrize(
    'norm',
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.BatchNorm3d(4),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        nn.LazyBatchNorm2d(),
        nn.SyncBatchNorm(4),
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(4)),
        Renorm(),
    ],
    ids=str,
)
def test_norms_that_train_with_statistics_over_the_batch_are_batch_norms(norm):
    assert is_batch_norm(norm)
    assert uses_batch_statistics(norm)


def test_mmcvs_sync_bn_counts_as_sync_bn(mmcv_norms):
    for norm in (
        MODELS.build(dict(type='MMSyncBN', num_features=4)),
        convert_sync_batchnorm(nn.BatchNorm2d(4), 'mmcv'),
    ):
        assert not isinstance(norm, nn.modules.batchnorm._BatchNorm)
        assert uses_batch_statistics(norm)
        assert not uses_batch_statistics(norm.eval())


@pytest.mark.parametrize(
    'norm',
    [
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.InstanceNorm2d(4),
        nn.InstanceNorm2d(4, track_running_stats=True),
        torchvision.ops.FrozenBatchNorm2d(4),
        nn.Identity(),
        nn.Conv2d(4, 4, 1),
    ],
    ids=str,
)
def test_norms_of_one_image_and_constant_ones_are_not(norm):
    assert not is_batch_norm(norm)


def test_in_eval_mode_only_a_batch_norm_without_running_statistics_uses_the_batchs():
    assert not uses_batch_statistics(nn.BatchNorm2d(4).eval())
    assert uses_batch_statistics(nn.BatchNorm2d(4, track_running_stats=False).eval())


def backbone_in_eval_mode_despite(kind):
    """A network whose backbone has `norm_eval=True`, as its config builds it."""
    sources = tiny_sources()
    learner = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources)
    if kind == 'expanded backbone':
        learner['backbone']['norm_eval'] = True
    else:
        branch = tiny_resnet(norm_eval=True) if kind == 'own branch' else dict(MMDET, norm_eval=True)
        learner['backbone'] = tiny_expanded(branches=dict.fromkeys(('cls', 'det', 'seg'), branch))
    return MODELS.build(learner)


@pytest.mark.parametrize('kind', ['expanded backbone', 'own branch', 'stock branch'])
@pytest.mark.parametrize('implementation', ['torch', 'mmcv'])
def test_norm_eval_reaches_the_norms_that_sync_bn_puts_in_place(kind, implementation, mmcv_norms):
    learner = convert_sync_batchnorm(backbone_in_eval_mode_despite(kind), implementation).train()
    assert any(is_batch_norm(module) for module in learner.backbone.modules())
    assert not any_batch_statistics(learner.backbone.branches)
    assert any_batch_statistics(learner.backbone.links) == (kind != 'expanded backbone')


def test_norm_eval_of_a_plain_backbone_reaches_them_too(mmcv_norms):
    backbone = convert_sync_batchnorm(MODELS.build(tiny_resnet(norm_eval=True)), 'mmcv').train()
    assert backbone.training
    assert not any_batch_statistics(backbone)


@pytest.mark.parametrize('implementation', ['torch', 'mmcv'])
def test_pruning_finds_the_same_widths_after_sync_bn(implementation, mmcv_norms):
    plain = MODELS.build(tiny_expanded())
    names = set(inner_widths(plain))
    assert names
    assert set(inner_widths(convert_sync_batchnorm(plain, implementation))) == names
