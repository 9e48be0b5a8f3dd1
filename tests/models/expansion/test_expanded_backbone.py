import copy

import pytest
import torch
from torch import nn

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.reconciliation import DepthPlan
from xlearner_mm.models.norms import ragged
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import CHANNELS, tiny_expanded, tiny_resnet

from .reference import literal_features, randomise

SETTINGS = [
    dict(topology='lower'),
    dict(topology='lower', link_levels=(0, 1, 2, 3)),
    dict(topology='lower', link_levels=(1,)),
    dict(topology='lower', include_self=True),
    dict(topology='lower', fuse='output'),
    dict(topology='lower', link=dict(type='PoolLink')),
    dict(topology='lower', link=dict(type='BottleneckLink')),
    dict(topology='lower', detach=False),
    dict(topology='same'),
    dict(topology='same', fuse='output', include_self=True),
    dict(topology='higher', fuse='output', link_levels=(0, 1, 2, 3)),
    dict(topology='all', fuse='output', link=dict(type='PoolLink')),
    dict(topology='all', fuse='output', include_self=True, detach=False),
    dict(topology='none'),
]


def build(*branches, **kwargs):
    backbone = MODELS.build(tiny_expanded(*branches, **kwargs))
    backbone.init_weights()
    return backbone


@pytest.fixture
def x():
    return torch.randn(3, 3, 64, 64)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_features_equal_the_literal_formula(settings, training, x):
    backbone = randomise(build(reconciliation=settings)).train(training)
    wanted = literal_features(copy.deepcopy(backbone), x, 'det')
    for mine, literal in zip(backbone.forward_task(x, 'det'), wanted, strict=True):
        torch.testing.assert_close(mine, literal, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_gradients_of_every_parameter_equal_the_plain_all_gradient_computation(settings, x):
    cheap = randomise(build(reconciliation=settings)).double()
    plain = copy.deepcopy(cheap)
    for features in (cheap.forward_task(x.double(), 'det'), literal_features(plain, x.double(), 'det')):
        sum(f.square().mean() for f in features).backward()
    for (name, mine), literal in zip(cheap.named_parameters(), plain.parameters(), strict=True):
        wanted = torch.zeros_like(literal) if literal.grad is None else literal.grad
        found = torch.zeros_like(mine) if mine.grad is None else mine.grad
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_a_new_expanded_backbone_equals_its_branches(settings, x):
    backbone = build(reconciliation=settings).eval()
    for task, branch in backbone.branches.items():
        for mine, own in zip(backbone.forward_task(x, task), branch.backbone(x), strict=True):
            assert torch.equal(mine, own)


def test_only_the_tasks_branch_takes_gradients_when_detached(x):
    backbone = randomise(build())
    sum(f.sum() for f in backbone.forward_task(x, 'det')).backward()
    touched = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert {name.split('.')[1] for name in touched if name.startswith('branches')} == {'det'}
    assert all('__det_' in name for name in touched if name.startswith('links'))


def test_statistics_change_by_a_branchs_own_images_only(x):
    backbone = build()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone.forward_task(x, 'det')
    changed = {name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith('branches.det.') or '__det_' in name for name in changed)
    assert all(module.training for module in backbone.modules())


def test_other_branches_run_only_as_deep_as_links_read(x):
    backbone = build()
    ran = []
    for name, branch in backbone.branches.items():
        for level in range(4):
            branch.stage(level).register_forward_hook(lambda *_, key=(name, level): ran.append(key))
    backbone.forward_task(x, 'det')
    assert sorted(ran) == sorted(
        [('det', i) for i in range(4)] + [(other, i) for other in ('cls', 'seg') for i in range(3)]
    )


def test_without_links_other_branches_do_not_run():
    levels = {'cls': 4, 'det': 4}
    assert DepthPlan.make({'det'}, levels, [], 'stream').stages == {'det': 4}


def test_running_all_branches_equals_running_each(x):
    backbone = randomise(build()).eval()
    together = backbone.forward_branches(x)
    for task in ('cls', 'det', 'seg'):
        for mine, alone in zip(together[task], backbone.forward_task(x, task), strict=True):
            torch.testing.assert_close(mine, alone)


def test_a_downstream_expanded_backbone_concatenates_all_branches(x):
    backbone = build('cls', 'det', out_indices=(1, 3)).eval()
    features = backbone(x)
    assert backbone.out_channels == (2 * CHANNELS[1], 2 * CHANNELS[3])
    assert [f.shape[1] for f in features] == list(backbone.out_channels)
    assert torch.equal(features[1][:, CHANNELS[3] :], backbone.forward_task(x, 'det')[3])


def test_different_branches_work_together(x):
    cfg = tiny_expanded('cls')
    cfg['branches']['det'] = tiny_resnet(depth=50, base_channels=8, stem_channels=8)
    cfg['branches']['seg'] = dict(_scope_='mmdet', type='ResNeXt', depth=50, groups=2, base_width=4, base_channels=8)
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    assert [f.shape[1] for f in backbone.forward_task(x, 'cls')] == list(CHANNELS)
    assert [f.shape[1] for f in backbone.forward_task(x, 'det')] == [32, 64, 128, 256]
    sum(f.sum() for f in backbone.forward_task(x, 'seg')).backward()


def test_hard_sharing_is_one_branch_for_all_tasks(x):
    backbone = build('shared', tasks=dict(cls='shared', det='shared'), reconciliation=dict(topology='none')).eval()
    for a, b in zip(backbone.forward_task(x, 'cls'), backbone.forward_task(x, 'det'), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(tasks=dict(cls='trunk')), "task 'cls' is served by unknown branch 'trunk'"),
        (dict(branches={}), 'needs at least one branch'),
        (dict(branches={'a-b': tiny_resnet()}), "branch name 'a-b' must be an identifier"),
        (dict(reconciliation=dict(link_levels=(7,))), "link_levels .7. are beyond branch 'cls'"),
        (dict(branches=dict(cls=dict(_scope_='mmpretrain', type='LeNet5'))), "branch 'cls': LeNet5 does not expose"),
    ],
)
def test_invalid_combinations_are_refused_at_build(change, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build({**tiny_expanded(), **change})


def test_an_unknown_task_is_refused(x):
    with pytest.raises(ConfigError, match="no branch.* task 'depth'"):
        build().forward_task(x, 'depth')


def stages_run(backbone, run):
    """Return the stages that a call runs, as (branch, level)."""
    ran = set()
    handles = [
        branch.stage(i).register_forward_hook(lambda *_, key=(t, i): ran.add(key))
        for t, branch in backbone.branches.items()
        for i in range(4)
    ]
    run()
    for handle in handles:
        handle.remove()
    return ran


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@pytest.mark.parametrize('depth', [1, 2, 4])
def test_some_branches_to_some_depth_are_those_of_the_whole_run(settings, depth, x):
    backbone = randomise(build(reconciliation=settings)).eval()
    whole = backbone.forward_branches(x)
    for wanted in (['det'], ['seg', 'cls'], None):
        found = backbone.forward_branches(x, wanted, depth)
        assert set(found) == set(wanted or whole)
        for name, levels in found.items():
            assert len(levels) == depth
            assert all(torch.equal(a, b) for a, b in zip(levels, whole[name][:depth], strict=True))


def test_links_run_in_the_order_of_their_receivers_in_all_processes(x):
    """Else ranks whose hash seeds differ would enter the collectives of the links' SyncBN in different orders."""
    names = ('seg', 'cls', 'det', 'depth', 'normals')
    backbone = build(*names, reconciliation=dict(topology='same', fuse='output'))
    receivers = []
    for key in backbone.link_keys:
        backbone.links[key.module_name].register_forward_hook(lambda *_, name=key.receiver: receivers.append(name))
    backbone.forward_branches(x, names)
    assert list(dict.fromkeys(receivers)) == list(names)


def test_unused_stages_are_not_run(x):
    backbone = build(reconciliation=dict(topology='none')).eval()
    assert stages_run(backbone, lambda: backbone.forward_branches(x, ['det'], 2)) == {('det', 0), ('det', 1)}
    linked = build(reconciliation=dict(topology='lower')).eval()
    ran = stages_run(linked, lambda: linked.forward_branches(x, ['det'], 1))
    assert ran == {('cls', 0), ('det', 0), ('seg', 0)}


ATTACHED = [settings for settings in SETTINGS if settings.get('detach') is False]


@pytest.mark.parametrize('settings', ATTACHED, ids=str)
@pytest.mark.parametrize('branch', [{}, dict(with_cp=True)], ids=['', 'checkpointed'])
@pytest.mark.parametrize('sync', [False, True], ids=['BN', 'SyncBN'])
def test_gradients_through_senders_are_those_of_the_statistics_that_they_ran_with(settings, branch, sync):
    """A sender's statistics move on with its own task's images before any gradient of the step is computed."""
    branches = {name: tiny_resnet(**branch) for name in ('cls', 'det')}
    backbone = randomise(build(branches=branches, reconciliation=settings)).double()
    backbone = nn.SyncBatchNorm.convert_sync_batchnorm(backbone) if sync else backbone
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.momentum = 0.9
    at_once, literal = backbone.train(), copy.deepcopy(backbone).train()
    images = dict(cls=torch.randn(2, 3, 64, 64).double(), det=5 + torch.randn(2, 3, 96, 64).double())
    sum(level.square().mean() for t, x in images.items() for level in at_once.forward_task(x, t)).backward()
    for t, x in images.items():
        sum(level.square().mean() for level in literal.forward_task(x, t)).backward()
    for (name, own), other in zip(at_once.named_parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=lambda text, name=name: f'{name}: {text}')
    for (name, own), other in zip(at_once.named_buffers(), literal.buffers(), strict=True):
        torch.testing.assert_close(own, other, msg=lambda text, name=name: f'{name}: {text}')


def test_weights_take_gradients_in_mixed_precision_where_their_branch_has_sent_before():
    """Casts that autocast makes and keeps in a pass without gradients have none to give."""
    backbone, x = randomise(build('cls', 'det')), torch.randn(2, 3, 64, 64)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    alone, cached = copy.deepcopy(backbone), {}
    backbone.branches['det'].stage(0).register_forward_hook(
        lambda *_: cached.update({torch.is_grad_enabled(): torch.is_autocast_cache_enabled()})
    )
    for own, tasks in ((backbone, ('cls', 'det')), (alone, ('det',))):
        with torch.autocast('cpu', torch.bfloat16):
            features = [own.forward_task(x, task) for task in tasks][-1]
        sum(level.float().square().mean() for level in features).backward()
    own, other = backbone.branches['det'], alone.branches['det']
    for (name, parameter), wanted in zip(own.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, wanted.grad, msg=lambda text, name=name: f'{name}: {text}')
        assert parameter.grad.any(), name
    assert cached == {False: False, True: True}


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_a_ragged_batch_of_one_size_is_that_batch(settings, x):
    backbone = randomise(build(reconciliation=settings)).double()
    plain, x = copy.deepcopy(backbone), x.double()
    wanted, found = plain.forward_task(x, 'det'), backbone.forward_task(ragged([x[:2], x[2:]]), 'det')
    for whole, parts in zip(wanted, found, strict=True):
        torch.testing.assert_close(torch.cat(parts.parts), whole)
        sum(part.square().sum() for part in parts.parts).backward(retain_graph=True)
        whole.square().sum().backward(retain_graph=True)
    for (name, own), other in zip(backbone.named_parameters(), plain.parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None), name
        if own.grad is not None:
            torch.testing.assert_close(own.grad, other.grad, msg=lambda text, name=name: f'{name}: {text}')
    torch.testing.assert_close(list(backbone.buffers()), list(plain.buffers()))
