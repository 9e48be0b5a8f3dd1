"""A step branch by branch is the step of one backward pass, bit by bit, with less in memory."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS

from xlearner_mm.analysis.dry_run.source_cost import Allocations
from xlearner_mm.errors import ConfigError
from xlearner_mm.models import ExpansionLearner
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

from .reference import randomise
from .test_expansion_learner import mixed_batch

STEPS = 4


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(OptimWrapper):
    """Scales losses on a CPU as MMEngine's mixed precision does on a GPU; the first step overflows."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)

    def backward(self, loss, **kwargs):
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()


def interleaved():
    """Sources whose branches take turns in the config."""
    sources = tiny_sources()
    sources['masks']['network']['decode_head']['dropout_ratio'] = 0.1
    return {name: sources[name] for name in ('birds', 'masks', 'boxes', 'cars')}


def build(sources=None, **kwargs):
    cfg = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=sources or interleaved())
    torch.manual_seed(0)
    learner = MODELS.build({**cfg, **kwargs})
    learner.init_weights()
    randomise(learner.backbone)
    return learner.train()


def trained(learner, optimizer, steps=STEPS):
    """Train a copy; return what is logged in each step, the gradients of every update, and the state."""
    learner, gradients, logged = copy.deepcopy(learner), [], []
    wrapper = build_optim_wrapper(learner, copy.deepcopy(optimizer))

    def keep(*_):
        gradients.append({n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None})

    first = next(iter(wrapper.values())) if hasattr(wrapper, 'optim_wrappers') else wrapper
    first.optimizer.register_step_pre_hook(keep)
    for step in range(steps):
        torch.manual_seed(step)  # what heads draw, such as dropout
        losses = learner.train_step(mixed_batch() if step == 1 else tiny_batch(seed=step), wrapper)
        logged.append({name: value.detach() for name, value in losses.items()})
    return logged, gradients, learner.state_dict(), first._inner_count


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


SGD = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
BY_BRANCH = dict(constructor='PerBranchOptimWrapperConstructor', det=dict(optimizer=dict(lr=0.1)), **SGD)
CLIPPED = dict(clip_grad=dict(max_norm=0.5))


@pytest.mark.parametrize(
    'optimizer',
    [
        dict(type='OptimWrapper', **SGD),
        dict(type='OptimWrapper', accumulative_counts=2, **SGD),
        dict(type='CpuAmpOptimWrapper', **SGD),
        dict(type='ScaledOptimWrapper', **CLIPPED, **SGD),
        dict(type='OptimWrapper', **CLIPPED, **BY_BRANCH),
        dict(type='OptimWrapper', accumulative_counts=2, **BY_BRANCH),
    ],
    ids=['plain', 'accumulated', 'bfloat16', 'scaled', 'optimizers by branch, clipped', 'those accumulated'],
)
@pytest.mark.parametrize('joint_batches', [True, False], ids=['joint batches', 'single'])
def test_gradients_statistics_and_log_are_bitwise_those_of_one_backward_pass(optimizer, joint_batches):
    joint = build(backward='joint', joint_batches=joint_batches)
    by_branch = copy.deepcopy(joint)
    by_branch.backward = 'branch'
    logged, gradients, state, count = trained(by_branch, optimizer)
    wanted_log, wanted_gradients, wanted_state, wanted_count = trained(joint, optimizer)
    for found, wanted in zip(logged, wanted_log, strict=True):
        assert_equal(found, wanted)
    assert len(gradients) == len(wanted_gradients) > 0
    for found, wanted in zip(gradients, wanted_gradients, strict=True):
        assert len(wanted) == len(list(joint.parameters()))
        assert_equal(found, wanted)
    assert_equal(state, wanted_state)
    assert any(not torch.equal(value, joint.state_dict()[name]) for name, value in state.items())
    assert count == wanted_count == STEPS


def test_recomputed_branches_do_it_too():
    backbone = tiny_expanded(branches={name: tiny_resnet(with_cp=True) for name in ('cls', 'det', 'seg')})
    joint = build(backward='joint', backbone=backbone)
    by_branch = copy.deepcopy(joint)
    by_branch.backward = 'branch'
    optimizer = dict(type='OptimWrapper', **SGD)
    assert_equal(trained(by_branch, optimizer)[2], trained(joint, optimizer)[2])


def test_only_one_branchs_graph_is_in_memory():
    peaks = {}
    for backward in ('joint', 'branch'):
        learner = build(backward=backward)
        wrapper = OptimWrapper(torch.optim.SGD(learner.parameters(), lr=0.01))
        learner.train_step(tiny_batch(8), wrapper)
        batch = tiny_batch(8)
        with Allocations() as allocations:
            learner.train_step(batch, wrapper)
        peaks[backward] = allocations.peak
    assert peaks['branch'] < 0.75 * peaks['joint']


def test_a_frozen_branch_takes_no_part_in_the_backward_pass():
    learner = build()
    for part in learner.parts_of('seg').values():
        part.requires_grad_(False)
    before = copy.deepcopy(learner.state_dict())
    trained_parameters = [p for p in learner.parameters() if p.requires_grad]
    learner.train_step(tiny_batch(), OptimWrapper(torch.optim.SGD(trained_parameters, lr=0.1)))
    frozen = {f'{prefix}.{n}' for prefix, part in learner.parts_of('seg').items() for n, _ in part.named_parameters()}
    for name, parameter in learner.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in frozen), name


class WithLossOfItsOwn(ExpansionLearner):
    """A further loss, which passes by branch would leave out."""

    def loss(self, inputs, data_samples):
        return {**super().loss(inputs, data_samples), 'own.loss': self.networks['birds'].head.fc.weight.square().sum()}


def test_it_is_the_default_where_it_is_exact():
    def mode(*branches, kind='ExpansionLearner', **reconciliation):
        sources = {name: own for name, own in tiny_sources().items() if not branches or own['task'] in branches}
        backbone = tiny_expanded(*branches, reconciliation=reconciliation)
        return MODELS.build(dict(type=kind, backbone=backbone, sources=sources)).backward

    assert mode() == 'branch'
    assert mode(topology='none', detach=False) == 'branch'
    assert mode(detach=False) == 'joint'
    assert mode('cls') == 'joint'
    assert mode(kind=WithLossOfItsOwn) == 'joint'


def test_settings_that_cannot_be_are_errors():
    with pytest.raises(ConfigError, match="backward 'both'.*branch.*joint"):
        build(backward='both')
    with pytest.raises(ConfigError, match="backward='branch'.*detach=False.*'joint'"):
        build(backward='branch', backbone=tiny_expanded(reconciliation=dict(detach=False)))
    with pytest.raises(ConfigError, match="WithLossOfItsOwn: backward='branch'.*'joint'.*losses_of"):
        build(type=WithLossOfItsOwn, backward='branch')
