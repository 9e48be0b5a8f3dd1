"""Parameters of a branch, its settings, and refused ones."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS

from xlearner_mm.engine.optim.wrapper import BranchClipping
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_sources

from ..tiny_squeeze import tiny_squeeze, write_teacher

SGD = dict(type='SGD', lr=0.1)
CLIPPED = dict(max_norm=0.1)


def learner(*branches, **backbone):
    model = dict(type='ExpansionLearner', backbone=tiny_expanded(*branches, **backbone), sources=tiny_sources())
    return MODELS.build(model).train()


def built(model, **settings):
    given = {'constructor': 'PerBranchOptimWrapperConstructor', 'optimizer': SGD, **settings}
    return build_optim_wrapper(model, given)


def names_of(model, parameters):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)] for parameter in parameters}


def of(wrapper):
    return [parameter for group in wrapper.optimizer.param_groups for parameter in group['params']]


def test_a_branch_owns_its_links_and_the_networks_of_its_sources():
    model = learner()
    wrapper = built(model, det={})
    owned = {branch: names_of(model, of(own)) for branch, own in wrapper.items()}
    assert set.union(*owned.values()) == {name for name, _ in model.named_parameters()}
    assert sum(map(len, owned.values())) == len(list(model.parameters()))
    links = {name for name in owned['det'] if name.startswith('backbone.links.')}
    assert links
    assert all('__det_' in name for name in links)
    rest = {'.'.join(name.split('.')[: 3 if name.startswith('backbone') else 2]) for name in owned['det'] - links}
    assert rest == {'backbone.branches.det', 'networks.boxes'}
    assert {name.split('.')[1] for name in owned['cls'] if name.startswith('networks')} == {'birds', 'cars'}


def test_hints_belong_to_the_branch_that_they_teach(tmp_path):
    torch.save(dict(state_dict=learner().state_dict(), meta={}), tmp_path / 'teacher.pth')
    teacher = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    hints = dict(boxes=dict(model=teacher, checkpoint=str(tmp_path / 'teacher.pth')))
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources(), hints=hints)
    model = MODELS.build(cfg)
    wrapper = built(model, det={})
    assert any(name.startswith('hints.boxes.guidance') for name in names_of(model, of(wrapper['det'])))


def test_by_default_one_stock_wrapper_with_one_optimizer_has_all_parameters_in_their_order():
    model = learner()
    wrapper = built(model, clip_grad=CLIPPED)
    assert type(wrapper) is OptimWrapper
    assert isinstance(wrapper.clip_func, BranchClipping)
    assert [id(p) for p in of(wrapper)] == [id(p) for p in model.parameters()]
    assert built(model).clip_grad_kwargs is None


def test_one_branch_that_serves_all_tasks_is_clipped_as_one():
    model = learner('shared', tasks=dict(cls='shared', det='shared', seg='shared'))
    wrapper = built(model, clip_grad=CLIPPED)
    losses = model(**model.data_preprocessor(tiny_batch(), True), mode='loss')
    model.parse_losses(losses)[0].backward()
    wrapper._clip_grad()
    norms = torch.stack([parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None])
    assert norms.norm() == pytest.approx(0.1, rel=1e-4)


def test_a_squeeze_is_optimized_as_a_whole(tmp_path):
    model = MODELS.build(tiny_squeeze(write_teacher(tmp_path / 'teacher.pth')))
    wrapper = built(model, clip_grad=CLIPPED)
    assert type(wrapper) is OptimWrapper
    assert wrapper.clip_func is torch.nn.utils.clip_grad_norm_
    with pytest.raises(ConfigError, match="'det'.*FitNetDistiller.* no branches"):
        built(model, det={})


def test_settings_by_the_names_in_the_learner_reach_single_parameters():
    keys = {'branches.det.backbone.layer1': dict(lr_mult=0.1), '__seg': dict(decay_mult=0.0)}
    sgd = dict(SGD, weight_decay=0.1)
    for own in ({}, dict(det={})):
        wrapper = built(learner(), optimizer=sgd, paramwise_cfg=dict(custom_keys=keys), **own)
        groups = [group for own in (wrapper.values() if own else [wrapper]) for group in own.optimizer.param_groups]
        assert sorted({group['lr'] for group in groups}) == pytest.approx([0.01, 0.1])
        assert {group['weight_decay'] for group in groups} == {0.1, 0.0}


def test_branches_inherit_common_settings():
    wrapper = built(
        learner(),
        clip_grad=CLIPPED,
        det=dict(optimizer=dict(lr=0.02)),
        seg=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), clip_grad=None),
    )
    assert isinstance(wrapper, OptimWrapperDict)
    kinds = {name: (type(own.optimizer).__name__, own.optimizer.defaults['lr']) for name, own in wrapper.items()}
    assert kinds == dict(cls=('SGD', 0.1), det=('SGD', 0.02), seg=('AdamW', 1e-3))
    assert {name: own.clip_grad_kwargs for name, own in wrapper.items()} == dict(cls=CLIPPED, det=CLIPPED, seg=None)


def grouped(constructor, optimizer, steps=6, clip_grad=None):
    """A network after some updates, and its wrapper; norms and biases have settings of their own."""
    torch.manual_seed(0)
    blocks = [[torch.nn.Conv2d(width, 8, 3), torch.nn.BatchNorm2d(8)] for width in (3, 8, 8)]
    model = torch.nn.Sequential(*[layer for block in blocks for layer in block])
    settings = dict(optimizer=dict(optimizer, weight_decay=0.1), accumulative_counts=2, clip_grad=clip_grad)
    paramwise = dict(norm_decay_mult=0.0, bias_lr_mult=2.0, custom_keys={'4.weight': dict(lr_mult=0.1)})
    wrapper = build_optim_wrapper(model, dict(settings, constructor=constructor, paramwise_cfg=paramwise))
    for _ in range(steps):
        wrapper.update_params(model(torch.randn(2, 3, 9, 9)).square().mean())
    return model, wrapper


@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=0.01), dict(type='value', clip_value=1e-3)])
@pytest.mark.parametrize(
    'optimizer', [dict(SGD, momentum=0.9), dict(SGD, foreach=True), dict(type='AdamW', lr=0.01, foreach=True)], ids=str
)
def test_merged_groups_give_the_same_updates_bit_for_bit(optimizer, clip_grad):
    plain, stock = grouped('DefaultOptimWrapperConstructor', dict(optimizer, foreach=False), clip_grad=clip_grad)
    model, wrapper = grouped('PerBranchOptimWrapperConstructor', optimizer, clip_grad=clip_grad)
    assert len(stock.optimizer.param_groups) == 12
    assert len(wrapper.optimizer.param_groups) == 4, 'weights, biases, norms, and one of its own'
    assert wrapper.get_lr()['base_lr'] == stock.get_lr()['base_lr'] == [optimizer['lr']]
    for group in wrapper.optimizer.param_groups:
        assert names_of(model, group['params']) == set(group['param_names'])
    for name, value in model.named_parameters():
        assert torch.equal(value, plain.get_parameter(name)), name


def test_fused_updates_of_merged_groups_are_equal_up_to_rounding():
    sgd = dict(SGD, momentum=0.9)
    plain, _ = grouped('DefaultOptimWrapperConstructor', sgd)
    model, _ = grouped('PerBranchOptimWrapperConstructor', dict(sgd, fused=True))
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, plain.get_parameter(name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'recipe',
    [
        dict(
            constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.5)
        ),
        dict(
            constructor='mmdet.LearningRateDecayOptimizerConstructor',
            paramwise_cfg=dict(decay_rate=0.5, decay_type='layer_wise', num_layers=6),
        ),
    ],
    ids=['mmpretrain', 'mmdet'],
)
def test_layer_wise_decay_sees_the_branch_as_a_stock_network(recipe):
    convnext = dict(
        _scope_='mmpretrain',
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32]),
        out_indices=(3,),
        gap_before_final_norm=False,
    )
    backbone = tiny_expanded()
    backbone['branches']['cls'] = convnext
    model = MODELS.build(dict(type='ExpansionLearner', backbone=backbone, sources=tiny_sources())).train()
    adamw = dict(type='AdamW', lr=1.0, weight_decay=0.05)
    wrapper = built(model, cls=dict(optimizer=adamw, **recipe))
    rates = {}
    for group in wrapper['cls'].optimizer.param_groups:
        for name in names_of(model, group['params']):
            rates[name] = group['lr']
    assert set(rates) == names_of(model, of(wrapper['cls']))
    stem = next(rate for name, rate in rates.items() if 'cls.backbone.downsample_layers.0' in name)
    last = next(rate for name, rate in rates.items() if 'cls.backbone.stages.3' in name)
    assert stem < last < 1.0 or stem < last == 1.0
    assert {rate for name, rate in rates.items() if 'networks' in name} == {1.0}
    assert {rate for name, rate in rates.items() if 'links' in name} == {1.0}


@OPTIM_WRAPPERS.register_module()
class OwnStepWrapper(OptimWrapper):
    def step(self, **kwargs):
        self.optimizer.step(**kwargs)


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        (dict(dett={}), "'dett' .*branches are .*did you mean 'det'"),
        (dict(clip_grads=CLIPPED), "'clip_grads' is neither a setting of OptimWrapper nor a branch.*'clip_grad'"),
        (dict(det=0.1), 'optim_wrapper.det: .*0.1'),
        (dict(det=dict(lr=0.1)), "optim_wrapper.det: unknown setting 'lr'"),
        (dict(det=dict(accumulative_counts=2)), "optim_wrapper.det: 'accumulative_counts'.*for all"),
        (dict(det=dict(type='CpuAmpOptimWrapper')), "optim_wrapper.det: 'type'.*for all"),
        (dict(optimizer={}), 'no optimizer: set optim_wrapper.optimizer for all'),
        (dict(optimizer={}, det=dict(optimizer=SGD)), "branch 'cls' has no optimizer.*optim_wrapper.cls.optimizer"),
        (dict(type='Optimwrapper'), "'Optimwrapper'; did you mean 'OptimWrapper'"),
        (dict(type='OwnStepWrapper', det={}), 'OwnStepWrapper has a step of its own'),
    ],
)
def test_invalid_combinations_are_refused_by_name(settings, told):
    with pytest.raises(ConfigError, match=told):
        built(learner(), **settings)


def test_parameters_of_no_or_two_branches_are_refused_by_name():
    model = learner()
    model.register_parameter('extra', torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ConfigError, match='extra.* no branch'):
        built(model)
    model = learner()
    model.networks['boxes'].tied = model.networks['masks'].decode_head.conv_seg
    with pytest.raises(ConfigError, match=r"several branches.*\['det', 'seg'\]"):
        built(model)


def test_a_loss_scale_is_one_for_all_and_leaves_out_the_branch_that_overflows(monkeypatch):
    """`AmpOptimWrapper` asks for a GPU to be built; its scaler runs on a CPU as well."""
    from mmengine.optim import AmpOptimWrapper
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', lambda **kw: torch.amp.GradScaler('cpu', **kw))
    model = learner()
    wrapper = built(model, type='AmpOptimWrapper', loss_scale=dict(init_scale=1024.0), clip_grad=CLIPPED, det={})
    assert {type(own) for own in wrapper.values()} == {AmpOptimWrapper}
    before = {name: value.clone() for name, value in model.named_parameters()}
    model.backbone.branches['det'].backbone.conv1.weight.register_hook(lambda gradient: gradient * torch.inf)
    losses = model(**model.data_preprocessor(tiny_batch(), True), mode='loss')
    wrapper.update_params(model.parse_losses(losses)[0])
    moved = {
        name.split('.')[2]
        for name, value in model.named_parameters()
        if name.startswith('backbone.branches') and not value.equal(before[name])
    }
    assert moved == {'cls', 'seg'}
    shift = torch.cat(
        [
            (value - before[name]).flatten()
            for name, value in model.named_parameters()
            if name in names_of(model, of(wrapper['cls']))
        ]
    )
    assert float(shift.detach().norm()) == pytest.approx(0.1 * 0.1, rel=1e-3), (
        'the clipped, unscaled gradient times the rate'
    )
    assert wrapper['cls'].loss_scaler.get_scale() == 512
    assert wrapper['seg'].loss_scaler is wrapper['cls'].loss_scaler
    state = wrapper.state_dict()
    other = built(learner(), type='AmpOptimWrapper', clip_grad=CLIPPED, det={})
    other.load_state_dict(state)
    assert other['det'].loss_scaler.get_scale() == 512
