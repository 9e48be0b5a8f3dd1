"""Branches of every family: run stage by stage, they are the stock backbones."""

import copy

import pytest
import torch
from torch import nn

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.backbones import resnet_class
from xlearner_mm.models.expansion.branch import Branch
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

from .reference import randomise

ALL = (0, 1, 2, 3)
SWIN = dict(type='SwinTransformer', window_size=2, out_indices=ALL)
MMPRETRAIN_SWIN = dict(
    _scope_='mmpretrain', arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]), img_size=64, **SWIN
)
MMDET_SWIN = dict(_scope_='mmdet', embed_dims=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), **SWIN)
CONVNEXT = dict(
    _scope_='mmpretrain',
    type='ConvNeXt',
    arch=dict(depths=[1, 1, 2, 1], channels=[4, 8, 16, 32]),
    out_indices=ALL,
    gap_before_final_norm=False,
)
FAMILIES = {
    'HalfResNet-50': dict(type='XLearnerResNet', depth=50, stem_channels=32, base_channels=32),
    'ResNet-152': tiny_resnet(depth=152),
    'mmdet ResNet, dilated': dict(
        _scope_='mmdet', type='ResNet', depth=18, base_channels=4, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
    ),
    'mmdet ResNeXt': dict(_scope_='mmdet', type='ResNeXt', depth=50, groups=2, base_width=4, base_channels=8),
    'mmpretrain ResNet': dict(
        _scope_='mmpretrain', type='ResNet', depth=18, stem_channels=4, base_channels=4, out_indices=ALL
    ),
    'mmpretrain ResNeXt': dict(
        _scope_='mmpretrain', type='ResNeXt', depth=50, groups=2, width_per_group=4, out_indices=ALL
    ),
    'mmseg ResNetV1c': dict(_scope_='mmseg', type='ResNetV1c', depth=18, stem_channels=8, base_channels=4),
    'mmdet RegNet': dict(_scope_='mmdet', type='RegNet', arch='regnetx_400mf'),
    'mmpretrain Swin': MMPRETRAIN_SWIN,
    'mmpretrain Swin, two outputs': {**MMPRETRAIN_SWIN, 'out_indices': (1, 3)},
    'mmpretrain Swin, padded windows': {**MMPRETRAIN_SWIN, 'pad_small_map': True, 'window_size': 7},
    'mmpretrain Swin, out_after_downsample': {**MMPRETRAIN_SWIN, 'out_after_downsample': True, 'window_size': 1},
    'mmdet Swin': MMDET_SWIN,
    'mmseg Swin': {**MMDET_SWIN, '_scope_': 'mmseg'},
    'ConvNeXt': CONVNEXT,
    'ConvNeXt V2': {**CONVNEXT, 'use_grn': True, 'layer_scale_init_value': 0.0, 'out_indices': [2, 3]},
}


def expanded_of(cfg, **kwargs):
    """One branch under test, linked both ways to a tiny ResNet."""
    backbone = MODELS.build(tiny_expanded(branches=dict(it=cfg, other=tiny_resnet()), **kwargs))
    backbone.init_weights()
    return backbone


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64)


@pytest.mark.parametrize('cfg', FAMILIES.values(), ids=FAMILIES)
def test_a_new_expanded_backbone_equals_the_stock_backbones_exactly(cfg, x):
    backbone = expanded_of(cfg).eval()
    stock = copy.deepcopy(backbone.branches['it'].backbone)
    features = backbone.forward_task(x, 'it')
    assert [f.shape[1] for f in features] == list(backbone.channels_of('it'))
    for level, theirs in zip(stock.out_indices, stock(x), strict=True):
        assert torch.equal(features[level], theirs)


@pytest.mark.parametrize('cfg', FAMILIES.values(), ids=FAMILIES)
def test_sizes_of_levels_are_those_of_any_image(cfg):
    backbone = expanded_of(cfg).eval()
    with torch.no_grad():
        features = backbone.forward_task(torch.randn(1, 3, 171, 139), 'it')
    sizes = [backbone.branches['it'].size(level, 171, 139) for level in range(4)]
    assert sizes == [tuple(f.shape[-2:]) for f in features]


@pytest.mark.parametrize(
    'cfg', [MMPRETRAIN_SWIN, MMDET_SWIN, CONVNEXT], ids=['mmpretrain Swin', 'mmdet Swin', 'ConvNeXt']
)
def test_links_reach_later_levels_and_every_parameter_of_the_branch_trains(cfg, x):
    backbone = expanded_of(cfg)
    before = backbone.eval().forward_task(x, 'it')
    randomise(backbone.train())
    sum(f.square().mean() for f in backbone.forward_task(x, 'it')).backward()
    without = [name for name, p in backbone.branches['it'].named_parameters() if p.grad is None]
    assert not without
    assert all(p.grad is None for p in backbone.branches['other'].parameters())
    after = backbone.eval().forward_task(x, 'it')
    # The last level has no link of its own: what it reads came through the stream.
    assert all(not torch.allclose(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    'cfg', [MMPRETRAIN_SWIN, MMDET_SWIN, CONVNEXT], ids=['mmpretrain Swin', 'mmdet Swin', 'ConvNeXt']
)
@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'checkpointed'])
def test_training_draws_the_same_stochastic_depth_as_the_stock_backbone(cfg, with_cp, x):
    backbone = expanded_of({**cfg, 'drop_path_rate': 0.5, 'with_cp': with_cp})
    stock = copy.deepcopy(backbone.branches['it'].backbone)
    torch.manual_seed(1)
    wanted = stock(x)
    torch.manual_seed(1)
    for mine, theirs in zip(backbone.forward_task(x, 'it'), wanted, strict=True):
        assert torch.equal(mine, theirs)


def per_level(*parts):
    return [tuple(part.format(level, level + 1) for part in parts) for level in range(3)]


RESNET_PARTS = [('conv1.', 'bn1.'), *per_level('layer{1}.')]
SWIN_PARTS = [('patch_embed.',), *per_level('stages.{0}.', 'norm{0}.')]
PARTS = {
    'mmdet ResNet, dilated': RESNET_PARTS,
    'mmdet RegNet': RESNET_PARTS,
    'mmseg ResNetV1c': [('stem.',), *per_level('layer{1}.')],
    'mmpretrain Swin': SWIN_PARTS,
    'mmpretrain Swin, two outputs': SWIN_PARTS,
    'mmdet Swin': SWIN_PARTS,
    'mmseg Swin': SWIN_PARTS,
    'ConvNeXt': [('downsample_layers.0.',), *per_level('downsample_layers.{0}.', 'stages.{0}.', 'norm{0}.')],
}


@pytest.mark.parametrize('frozen_stages', range(4))
@pytest.mark.parametrize('family', PARTS)
def test_frozen_stages_are_the_stem_and_as_many_levels_in_every_family(family, frozen_stages):
    branch = expanded_of(FAMILIES[family], frozen_stages=frozen_stages).train().branches['it'].backbone
    frozen = tuple(part for parts in PARTS[family][: 1 + frozen_stages] for part in parts)
    for name, parameter in branch.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name
    for name, module in branch.named_modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d) and f'{name}.'.startswith(frozen):
            assert not module.training, name


def test_a_branchs_own_frozen_stages_stay_frozen():
    backbone = expanded_of({**CONVNEXT, 'frozen_stages': 2}, frozen_stages=0).train()
    free = {name for name, p in backbone.branches['it'].backbone.named_parameters() if p.requires_grad}
    assert not [name for name in free if name.startswith(('stages.0.', 'stages.1.'))]
    assert [name for name in free if name.startswith('stages.2.')]


def test_frozen_norms_stay_in_eval_mode_as_sync_bn():
    backbone = nn.SyncBatchNorm.convert_sync_batchnorm(expanded_of(tiny_resnet(), frozen_stages=0)).train()
    assert not backbone.branches['it'].backbone.norm1.training
    assert backbone.branches['it'].backbone.layer1[0].norm1.training


def test_links_are_added_before_the_output_norm(x):
    backbone = randomise(expanded_of(CONVNEXT, reconciliation=dict(link_levels=(0,)))).eval()
    branch, other = backbone.branches['it'], backbone.branches['other']
    sent = other.stage(0)(other.stem(x))
    stream = branch.stage(0)(branch.stem(x))
    stream = stream + backbone.links['other_0__it_0'](sent, tuple(stream.shape[-2:]))
    torch.testing.assert_close(backbone.forward_task(x, 'it')[0], branch.backbone.norm0(stream))


def test_branches_of_three_families_go_together(x):
    backbone = MODELS.build(tiny_expanded(branches=dict(cls=CONVNEXT, det=MMDET_SWIN, seg=tiny_resnet())))
    backbone.init_weights()
    for task in ('cls', 'det', 'seg'):
        assert len(backbone.forward_task(x, task)) == 4


def test_sources_of_one_task_may_have_a_branch_each_and_every_family_trains_behind_stock_networks():
    branches = dict(
        cls_birds=tiny_resnet(),
        cls_cars={**CONVNEXT, 'out_indices': [3]},
        det={**MMDET_SWIN, 'out_indices': (1, 2, 3)},
        seg=tiny_resnet(),
    )
    sources = tiny_sources()
    sources['birds']['task'], sources['cars']['task'] = 'cls_birds', 'cls_cars'
    detector = sources['boxes']['network']
    detector['backbone'] = dict(out_indices=(1, 2, 3))
    detector['neck'].update(in_channels=[16, 32, 64], start_level=0)
    learner = MODELS.build(dict(type='ExpansionLearner', backbone=tiny_expanded(branches=branches), sources=sources))
    learner.init_weights()
    data = learner.data_preprocessor(tiny_batch(), True)
    total, _ = learner.parse_losses(learner(**data, mode='loss'))
    total.backward()
    assert [name for name, p in learner.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_downstream_expanded_backbone_returns_only_common_levels(x):
    backbone = expanded_of({**CONVNEXT, 'out_indices': [2, 3]})
    with pytest.raises(ConfigError, match=r"out_indices \(0, 1, 2, 3\) .*output norms.*branch 'it'"):
        backbone(x)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            dict(_scope_='mmpretrain', type='LeNet5'),
            'LeNet5 does not expose its stages.*families: ConvNeXt, ResNet .*, Swin',
        ),
        ({**CONVNEXT, 'gap_before_final_norm': True}, 'pooled vectors.*set gap_before_final_norm=False'),
        ({**MMDET_SWIN, 'use_abs_pos_embed': True}, 'use_abs_pos_embed=True is tied to one image size'),
        ({**MMDET_SWIN, 'convert_weights': True}, 'convert it once'),
    ],
)
def test_a_backbone_that_cannot_be_run_stage_by_stage_is_refused_by_branch(cfg, message):
    with pytest.raises(ConfigError, match=f"branch 'det': .*{message}"):
        Branch('det', cfg)


def test_a_backbone_whose_forward_is_not_its_stages_is_refused():
    class Doubled(resnet_class()):
        def forward(self, x):
            return tuple(2 * f for f in super().forward(x))

    MODELS.register_module(name='DoubledResNet', module=Doubled, force=True)
    with pytest.raises(ConfigError, match="branch 'det': Doubled .*stages"):
        Branch('det', tiny_resnet(type='DoubledResNet'))


def test_building_a_branch_draws_no_more_random_numbers_than_its_backbone():
    torch.manual_seed(0)
    MODELS.build(tiny_resnet())
    wanted = torch.rand(1)
    torch.manual_seed(0)
    Branch('cls', tiny_resnet())
    assert torch.equal(torch.rand(1), wanted)


class TestCheckpoints:
    STOCK = {name: FAMILIES[name] for name in ('mmdet ResNeXt', 'mmpretrain Swin', 'mmdet Swin', 'ConvNeXt')}

    @staticmethod
    def saved(path, cfg, change=lambda state: state):
        """Write a training checkpoint of a stock network with that backbone."""
        stock = MODELS.build(dict(cfg))
        state = {f'backbone.{key}': value for key, value in stock.state_dict().items()}
        torch.save(dict(state_dict=change({**state, 'head.fc.weight': torch.zeros(1)})), path)
        return stock

    @staticmethod
    def branch(path, cfg):
        return Branch('det', {**cfg, 'init_cfg': dict(type='Pretrained', checkpoint=str(path))})

    @pytest.mark.parametrize('cfg', STOCK.values(), ids=STOCK)
    def test_a_branch_loads_all_weights(self, cfg, tmp_path):
        stock = self.saved(tmp_path / 'a.pth', cfg)
        branch = self.branch(tmp_path / 'a.pth', cfg)
        branch.init_weights()
        for key, value in stock.state_dict().items():
            assert torch.equal(branch.backbone.state_dict()[key], value), key

    @pytest.mark.parametrize('cfg', STOCK.values(), ids=STOCK)
    def test_missing_weights_are_an_error_that_names_the_branch(self, cfg, tmp_path):
        def without_last(state):
            return {key: value for key, value in state.items() if 'layer4.' not in key and 'stages.3.' not in key}

        self.saved(tmp_path / 'a.pth', cfg, without_last)
        with pytest.raises(CheckpointError, match=r"branch 'det': .*a\.pth .*fit.* missing:\s+(layer4|stages\.3)"):
            self.branch(tmp_path / 'a.pth', cfg).init_weights()

    def test_an_unrelated_checkpoint_is_an_error_even_with_fresh_norms(self, tmp_path):
        torch.save(dict(state_dict={'something.weight': torch.zeros(1)}), tmp_path / 'a.pth')
        with pytest.raises(CheckpointError, match="branch 'det': .*nothing.*ConvNeXt"):
            self.branch(tmp_path / 'a.pth', CONVNEXT).init_weights()

    def test_output_norms_that_a_classification_checkpoint_lacks_start_fresh(self, tmp_path):
        self.saved(tmp_path / 'a.pth', {**MMPRETRAIN_SWIN, 'out_indices': (3,)})
        branch = self.branch(tmp_path / 'a.pth', MMPRETRAIN_SWIN)
        branch.init_weights()
        assert torch.equal(branch.backbone.norm0.weight, torch.ones(8))

    def test_the_packages_own_backbone_names_the_branch_too(self, tmp_path):
        with pytest.raises(CheckpointError, match="branch 'det': .*does not exist"):
            self.branch(tmp_path / 'none.pth', tiny_resnet()).init_weights()

    def test_an_expanded_backbone_loads_its_branches(self, tmp_path):
        stock = self.saved(tmp_path / 'a.pth', MMDET_SWIN)
        cfg = {**MMDET_SWIN, 'init_cfg': dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))}
        loaded = expanded_of(cfg).branches['it'].backbone.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in stock.state_dict().items())
