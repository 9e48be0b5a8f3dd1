"""A joint training of unlinked branches ends with the weights of separate stock trainings of the same images."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import set_random_seed

from xlearner_mm.engine.optim.wrapper import wrappers_of
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

STEPS = 4
SOURCES = {'cls': 'birds', 'det': 'boxes', 'seg': 'masks'}
CLIPPED = dict(max_norm=0.5)
SGD = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
UNDECAYED = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
WARMUP = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3)]
STEPWISE = [dict(type='MultiStepLR', milestones=[1, 3], by_epoch=False)]


def learner():
    sources = {name: source for name, source in tiny_sources().items() if name in SOURCES.values()}
    backbone = tiny_expanded(reconciliation=dict(topology='none'))
    set_random_seed(0)
    built = MODELS.build(dict(type='ExpansionLearner', backbone=backbone, sources=sources))
    built.init_weights()
    return built.train()


def stock(joint, branch):
    """The library's own network of the branch's source, with the joint one's weights at the start."""
    source = SOURCES[branch]
    network = MODELS.build({**tiny_sources()[source]['network'], 'backbone': own_backbone(source)})
    network.load_state_dict(weights(joint, branch))
    return network.train()


def own_backbone(source):
    levels = (3,) if source == 'birds' else (0, 1, 2, 3)
    # mmdet's norms infer by default, since its detectors start from a checkpoint.
    return tiny_resnet(out_indices=levels, norm_eval=False)


def weights(joint, branch):
    """The branch and its head under the names of a stock network."""
    state = joint.state_dict()
    renamed = {f'backbone.branches.{branch}.backbone.': 'backbone.', f'networks.{SOURCES[branch]}.': ''}
    return {
        new + name.removeprefix(old): value.clone()
        for old, new in renamed.items()
        for name, value in state.items()
        if name.startswith(old)
    }


def train(model, optim_wrapper, schedules, pick=lambda batch: batch):
    """Some steps by MMEngine's own `train_step`, on the same images whoever trains."""
    schedulers = []
    for name, wrapper in wrappers_of(optim_wrapper).items():
        own = schedules.get(name, []) if isinstance(schedules, dict) else schedules
        schedulers += [PARAM_SCHEDULERS.build({**schedule, 'optimizer': wrapper}) for schedule in own]
    for step in range(STEPS):
        model.train_step(pick(tiny_batch(seed=step)), optim_wrapper)
        for scheduler in schedulers:
            scheduler.step()


def of_joint(batch):
    return {name: batch[name] for name in SOURCES.values()}


# What all have, what single branches have, schedules of all or by branch.
CASES = {
    'SGD, clipped': (dict(optimizer=SGD, clip_grad=CLIPPED), {}, STEPWISE),
    'SGD, values clipped': (dict(optimizer=SGD, clip_grad=dict(type='value', clip_value=0.01)), {}, []),
    'SGD, largest value clipped': (dict(optimizer=SGD, clip_grad=dict(max_norm=0.1, norm_type='inf')), {}, []),
    'AdamW': (dict(optimizer=ADAMW, clip_grad=CLIPPED, paramwise_cfg=UNDECAYED), {}, WARMUP),
    'accumulated': (dict(optimizer=SGD, clip_grad=CLIPPED, accumulative_counts=2), {}, []),
    'bfloat16': (dict(type='CpuAmpOptimWrapper', optimizer=SGD, clip_grad=CLIPPED), {}, []),
    'own optimizers': (
        dict(optimizer=SGD, clip_grad=CLIPPED),
        dict(
            det=dict(optimizer=ADAMW, clip_grad=None, paramwise_cfg=UNDECAYED),
            seg=dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=0.1)),
        ),
        dict(cls=STEPWISE, det=WARMUP, seg=[]),
    ),
    'own optimizers, accumulated': (
        dict(optimizer=SGD, clip_grad=CLIPPED, accumulative_counts=2),
        dict(seg=dict(optimizer=ADAMW)),
        WARMUP,
    ),
    'own optimizers, bfloat16': (
        dict(type='CpuAmpOptimWrapper', optimizer=SGD, clip_grad=CLIPPED),
        dict(seg=dict(type='OptimWrapper', optimizer=ADAMW)),
        [],
    ),
}


def alone(of_all, own):
    """The stock settings of one branch."""
    merged = {**of_all, **own}
    merged['optimizer'] = own.get('optimizer', of_all['optimizer'])
    if 'type' not in merged['optimizer']:
        merged['optimizer'] = {**of_all['optimizer'], **merged['optimizer']}
    return {**merged, 'type': of_all.get('type', 'OptimWrapper')}


@pytest.mark.parametrize(('of_all', 'own', 'schedules'), CASES.values(), ids=CASES)
def test_joint_training_equals_three_stock_trainings(of_all, own, schedules):
    joint = learner()
    networks = {branch: stock(joint, branch) for branch in SOURCES}
    wrapper = build_optim_wrapper(joint, dict(constructor='PerBranchOptimWrapperConstructor', **of_all, **own))
    train(joint, wrapper, schedules, of_joint)
    for branch, network in networks.items():
        start = {name: value.clone() for name, value in network.state_dict().items()}
        single = build_optim_wrapper(network, alone(of_all, own.get(branch, {})))
        train(
            network,
            single,
            schedules[branch] if isinstance(schedules, dict) else schedules,
            lambda batch, source=SOURCES[branch]: batch[source],
        )
        ended = weights(joint, branch)
        assert set(ended) == set(network.state_dict())
        for name, value in network.state_dict().items():
            assert torch.allclose(ended[name], value, atol=1e-6, rtol=0), f'{branch}: {name}'
        assert any(not value.equal(start[name]) for name, value in network.named_parameters()), 'nothing was learned'


def test_clipped_together_one_task_shrinks_the_steps_of_the_others():
    """The reason for the constructor: the stock one gives other weights."""
    ends = []
    for constructor in ('PerBranchOptimWrapperConstructor', 'DefaultOptimWrapperConstructor'):
        joint = learner()
        wrapper = build_optim_wrapper(joint, dict(constructor=constructor, optimizer=SGD, clip_grad=CLIPPED))
        train(joint, wrapper, [], of_joint)
        ends.append(weights(joint, 'cls')['backbone.conv1.weight'])
    assert (ends[0] - ends[1]).abs().max() > 1e-4
