import copy
import pickle

import pytest
import torch
import torchvision

from xlearner_mm.checkpoint import load_backbone
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.models.backbones import resnet_class, without_library_defaults
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet


@pytest.fixture
def saved(tmp_path):
    """A function that saves a tiny ResNet's weights below a prefix and returns both."""

    def save(prefix='', extra=None, **kwargs):
        torch.manual_seed(7)
        net = MODELS.build(tiny_resnet(**kwargs))
        net.init_weights()
        path = str(tmp_path / 'checkpoint.pth')
        state = {prefix + key: value for key, value in net.state_dict().items()}
        torch.save({'state_dict': {**state, **(extra or {})}}, path)
        return net, path

    return save


def load(path, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=path, **kwargs.pop('init', {}))
    net = MODELS.build(tiny_resnet(init_cfg=init_cfg, **kwargs))
    net.init_weights()
    return net


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(('depth', 'reference'), [(18, 'resnet18'), (50, 'resnet50')])
def test_keys_and_outputs_equal_torchvisions_resnet_bitwise(depth, reference):
    theirs = getattr(torchvision.models, reference)().eval()
    ours = XLearnerResNet(depth).eval()
    missing = ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith('fc.')})
    assert not missing.missing_keys
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for level, feature in enumerate(ours(x)):
            y = getattr(theirs, f'layer{level + 1}')(y)
            torch.testing.assert_close(feature, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_every_library_finds_it_without_a_prefix(scope):
    with MODELS.switch_scope_and_registry(scope) as registry:
        assert isinstance(registry.build(tiny_resnet()), XLearnerResNet)


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.', 'student.', 'module.student.'])
def test_exports_squeeze_and_training_checkpoints_load_unchanged(saved, prefix):
    net, path = saved(prefix)
    assert same(load(path), net)


def test_a_head_beside_the_backbone_is_accepted(saved):
    net, path = saved('backbone.', extra={'head.fc.weight': torch.zeros(3, 32)})
    assert same(load(path), net)


def test_a_prefix_can_be_given(saved):
    net, path = saved('backbone.branches.det.backbone.')
    assert same(load(path, init=dict(prefix='backbone.branches.det.backbone')), net)


@pytest.mark.parametrize('holder', ['backbone.', ''])
def test_the_only_branch_of_an_expansion_stage_needs_no_prefix(saved, holder):
    net, path = saved(f'{holder}branches.shared.backbone.')
    assert same(load(path), net)


def test_several_branches_need_a_choice(saved):
    _, path = saved('backbone.branches.det.backbone.', extra={'backbone.branches.cls.backbone.bn1.bias': torch.ones(4)})
    with pytest.raises(
        CheckpointError, match=r"branches \['cls', 'det'\] .* by prefix='backbone.branches.cls.backbone'"
    ):
        load(path)
    with pytest.raises(CheckpointError, match=r"prefix 'det': .*branches.*'backbone.branches.det.backbone'"):
        load(path, init=dict(prefix='det'))


@pytest.mark.parametrize('init', [{}, dict(prefix='backbone.branches.det.backbone')])
def test_one_branch_of_a_pruned_checkpoint_is_refused_and_the_whole_is_named(saved, init):
    _, path = saved('backbone.branches.det.backbone.')
    widths = {'branches.det.backbone.layer1.0.conv1': 3}
    described = dict(type='XLearnerExpandedBackbone', branches=dict(det=tiny_resnet()), widths=widths)
    torch.save({**torch.load(path), 'meta': {'xlearner': {'backbone': described}}}, path)
    with pytest.raises(CheckpointError, match=r"was pruned, 1 .* type='XLearnerExpandedBackbone' .*layer1.0.conv1': 3"):
        load(path, init=init)


def test_a_missing_key_is_an_error(saved, tmp_path):
    net, path = saved()
    state = net.state_dict()
    del state['layer3.0.conv1.weight']
    torch.save({'state_dict': state}, path)
    with pytest.raises(CheckpointError, match=r'checkpoint\.pth .*fit.*1 missing: layer3.0.conv1.weight'):
        load(path)


def test_missing_keys_are_accepted_with_strict_false(saved):
    net, path = saved()
    state = net.state_dict()
    del state['layer3.0.conv1.weight']
    torch.save({'state_dict': state}, path)
    loaded = load(path, init=dict(strict=False))
    assert torch.equal(loaded.layer1[0].conv1.weight, net.layer1[0].conv1.weight)


def test_weights_missing_in_a_plain_checkpoint_name_strict_false(saved, logged):
    net, path = saved(depth=50)
    plugins = [dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv2', stages=(0, 0, 0, 1))]
    with pytest.raises(CheckpointError, match=r'(?s)missing:.*layer4\.0\.context_block.*write strict=False into'):
        load(path, depth=50, plugins=plugins)
    loaded = load(path, depth=50, plugins=plugins, init=dict(strict=False))
    assert torch.equal(loaded.layer4[0].conv1.weight, net.layer4[0].conv1.weight)
    [(level, line)] = logged()
    assert level == 'WARNING'
    missing = {key for key in loaded.state_dict() if 'context_block' in key}
    assert missing
    assert all(f'\n  {key}\n' in line + '\n' for key in missing)


def test_another_shape_is_an_error_with_both_shapes(saved):
    _, path = saved(base_channels=8)
    with pytest.raises(CheckpointError, match=r'layer1.0.conv1.weight is \(8, 4, 3, 3\), expected \(4, 4, 3, 3\)'):
        load(path)


def test_a_deeper_backbone_is_an_error(saved):
    _, path = saved(depth=34)
    with pytest.raises(CheckpointError, match=r'96 not of .*: layer1\.2.* and 88 more.*checkpoint'):
        load(path)


def test_a_checkpoint_of_an_unrelated_model_is_an_error(tmp_path):
    path = str(tmp_path / 'other.pth')
    torch.save({'state_dict': {'embed.weight': torch.zeros(3)}}, path)
    with pytest.raises(CheckpointError, match='other.pth .*nothing.*XLearnerResNet'):
        load(path)


def test_a_prefix_without_weights_is_named(saved):
    _, path = saved('backbone.')
    with pytest.raises(CheckpointError, match="nothing.*prefix 'neck': .*keys.*backbone.bn1"):
        load(path, init=dict(prefix='neck'))


def test_a_prefix_of_another_architecture_is_not_suggested(saved):
    _, path = saved('backbone.branches.det.backbone.')
    swin = MODELS.build(dict(type='SwinTransformer', embed_dims=24, _scope_='mmdet'))
    with pytest.raises(CheckpointError, match='holds below prefix .* another architecture.*SwinTransformer'):
        load_backbone(swin, path, 'backbone.branches.det.backbone')


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match='nowhere.pth .*exist'):
        load(str(tmp_path / 'nowhere.pth'))


def test_train_and_eval_return_the_module():
    net = MODELS.build(tiny_resnet())
    assert net.train() is net
    assert net.eval() is net


def test_frozen_stages_and_norm_eval_behave_as_stock():
    net = MODELS.build(tiny_resnet(frozen_stages=1, norm_eval=True)).train()
    assert not any(p.requires_grad for p in [*net.conv1.parameters(), *net.layer1.parameters()])
    assert all(p.requires_grad for p in net.layer2.parameters())
    assert not any(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_the_class_is_the_stock_resnet_of_the_scope_or_the_given_library():
    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        stock = MODELS.build(dict(type='ResNet', depth=18, _scope_=library))
        for cfg in (dict(_scope_=library), dict(library=library, _scope_='mmengine')):
            ours = MODELS.build(dict(type='XLearnerResNet', depth=18, **cfg))
            assert isinstance(ours, XLearnerResNet)
            assert isinstance(ours, type(stock))
            assert (ours.norm_eval, ours.out_indices) == (stock.norm_eval, stock.out_indices)
    assert isinstance(XLearnerResNet(18), resnet_class('mmseg'))


def test_an_unknown_library_is_an_error():
    with pytest.raises(ConfigError, match="unknown library 'mmrotate', choose from"):
        XLearnerResNet(18, library='mmrotate')


def test_our_own_stages_build_the_same_in_every_scope():
    for scope in ('mmdet', 'mmseg', 'mmpretrain'):
        built = MODELS.build({**without_library_defaults(tiny_resnet()), '_scope_': scope})
        assert (built.norm_eval, built.out_indices) == (False, (0, 1, 2, 3))


def test_copies_and_pickles_keep_their_class():
    net = MODELS.build(tiny_resnet(_scope_='mmpretrain'))
    assert type(copy.deepcopy(net)) is type(pickle.loads(pickle.dumps(net))) is type(net)


@pytest.mark.parametrize(('variant', 'said'), [('V1c', {}), ('V1d', dict(avg_down=True))])
def test_variants_are_available_as_types(variant, said):
    named = MODELS.build(tiny_resnet(type=f'XLearnerResNet{variant}'))
    assert named.state_dict().keys() == MODELS.build(tiny_resnet(deep_stem=True, **said)).state_dict().keys()


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain', 'mmengine'])
@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_a_library_prefix_holds_in_every_scope(scope, library):
    for name in ('XLearnerResNet', 'XLearnerResNetV1c'):
        built = MODELS.build(tiny_resnet(type=f'{library}.{name}', _scope_=scope))
        assert isinstance(built, resnet_class(library))
