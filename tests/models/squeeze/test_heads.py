"""The loss through frozen heads: its formula by another path, its gradients, and what it refuses."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.stock_network import port_of
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import CHANNELS, tiny_batch, tiny_expanded, tiny_resnet, tiny_sources

SOURCES = ('birds', 'cars', 'boxes', 'masks')


def data_of(distiller, seed=0):
    return distiller.data_preprocessor(tiny_batch(seed=seed), True)


def heads_on(distiller, forward_task, source, data, mode):
    """What a source's network makes of its images when its port reads from a function."""
    network = copy.copy(distiller.teacher.learner.networks[source])
    port_of(network).bind(forward_task)
    return network(data['inputs'][source], data['data_samples'][source], mode=mode)


def flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for own in outputs for tensor in flat(own)]


def parsed(losses):
    values = [sum(value) if isinstance(value, list) else value for name, value in losses.items() if 'loss' in name]
    return sum(value.mean() for value in values)


@pytest.mark.parametrize('supervise', ['all', 'own'])
def test_with_labels_it_is_the_sources_own_loss_on_the_student(build, supervise):
    distiller = build(heads=dict(loss='labels', weight=0.5), supervise=supervise).eval()
    data = data_of(distiller)
    losses = distiller(**data, mode='loss')
    for source in SOURCES:
        wanted = parsed(heads_on(distiller, distiller.forward_task, source, data, 'loss'))
        torch.testing.assert_close(losses[f'{source}.heads_loss'], 0.5 * wanted, rtol=1e-4, atol=1e-5)


def test_with_tasks_only_their_sources_have_the_term(build):
    distiller = build(heads=dict(loss='labels'))
    some = build(heads=dict(loss='labels', tasks=['cls']))
    some.load_state_dict(distiller.state_dict())
    data = data_of(distiller)
    with_all, losses = (own.eval()(**data, mode='loss') for own in (distiller, some))
    assert {name for name in losses if name.endswith('heads_loss')} == {'birds.heads_loss', 'cars.heads_loss'}
    for name, value in losses.items():
        torch.testing.assert_close(value, with_all[name])


def test_levels_that_only_heads_of_other_tasks_read_need_not_be_distilled(build):
    build(heads=dict(loss='labels', tasks=['cls']), levels=(3,))


@pytest.mark.parametrize('standardize', [None, dict(type='PHIStandardize')])
def test_with_outputs_it_is_the_distance_of_what_the_heads_make_of_student_and_branch(build, standardize):
    distiller = build(heads=dict(loss='outputs'), standardize=standardize).train()
    distiller(**data_of(distiller, seed=1), mode='loss')  # moments that are not those of the start
    data = data_of(distiller.eval())
    losses = distiller(**data, mode='loss')
    for source in SOURCES:
        student = flat(heads_on(distiller, distiller.forward_task, source, data, 'tensor'))
        branch = flat(heads_on(distiller, distiller.teacher.learner.backbone.forward_task, source, data, 'tensor'))
        wanted = sum(((a - b) ** 2).mean() for a, b in zip(student, branch, strict=True)) / len(branch)
        torch.testing.assert_close(losses[f'{source}.heads_loss'], wanted, rtol=1e-3, atol=1e-6)
        assert wanted > 0


@pytest.mark.parametrize('kind', ['labels', 'outputs'])
def test_it_trains_student_and_guidance_and_leaves_the_heads_alone(build, kind):
    distiller = build(heads=dict(loss=kind), guidance=dict(type='TwoLayerGuidance')).train()
    learner = distiller.teacher.learner
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    losses = distiller(**data_of(distiller), mode='loss')
    sum(losses[f'{source}.heads_loss'] for source in SOURCES).backward()
    assert all(p.grad is not None for p in distiller.student.parameters())
    assert distiller.guidance['det_2'].conv.weight.grad.abs().max() > 0
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=1e-3))
    distiller.train_step(tiny_batch(), optimizer)
    assert all(p.grad is None for p in learner.parameters())
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())
    assert all(layer.hidden_norm.num_batches_tracked == 2 for layer in distiller.guidance.values()), 'once in a step'


def test_heads_read_the_student_in_the_sizes_of_a_branch_that_does_not_pad(build, tmp_path):
    convnext = dict(
        _scope_='mmpretrain',
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=list(CHANNELS)),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    )
    backbone = tiny_expanded(branches=dict(cls=tiny_resnet(), det=convnext, seg=tiny_resnet()))
    cfg = dict(type='ExpansionLearner', backbone=backbone, sources=tiny_sources())
    torch.save({'state_dict': MODELS.build(cfg).state_dict(), 'meta': {}}, tmp_path / 'convnext.pth')
    distiller = build(teacher=dict(model=cfg, checkpoint=str(tmp_path / 'convnext.pth'))).eval()
    x = torch.randn(1, 3, 171, 139)
    for task in ('cls', 'det'):
        own = distiller.teacher.learner.backbone.forward_task(x, task)
        read = distiller.forward_task(x, task)
        assert [read[i].shape for i in range(4)] == [feature.shape for feature in own]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(heads='labels'), r"heads must be dict\(loss='labels'\).*'labels'"),
        (dict(heads=dict(loss='logits')), r"heads.*'outputs'.*'logits'"),
        (dict(heads=dict(loss='labels', weight=-1)), r'heads.weight.*not negative.*-1'),
        (dict(heads=dict(loss='labels', scale=1)), 'heads.*scale'),
        (dict(heads=dict(loss='labels', tasks=['pose'])), r"heads.tasks.*'cls', 'det', 'seg'.*pose"),
        (dict(heads=dict(loss='labels', tasks='cls')), r"heads.tasks.*got 'cls'"),
        (dict(heads=dict(loss='labels', tasks=[])), r'heads.tasks.*got \[\]'),
        (dict(heads=dict(loss='labels'), mix=dict(type='Mixup', alpha=0.8)), r'mix leaves no labels for heads'),
        (dict(heads=dict(loss='labels'), levels=(3,)), r"source 'boxes' read levels \[0, 1, 2\].*\[3\].*distilled"),
    ],
)
def test_what_cannot_be_is_refused(build, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)
