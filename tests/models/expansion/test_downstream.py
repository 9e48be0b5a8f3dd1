"""The expanded backbone as `model.backbone` of stock configs, as X-Learner_r and X-Learner_p are transferred."""

import pytest
import torch

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import (
    CHANNELS,
    tiny_batch,
    tiny_classifier,
    tiny_detector,
    tiny_expanded,
    tiny_segmentor,
    tiny_sources,
)

from .reference import randomise

WIDTHS = {'branches.det.backbone.layer4.1.conv1': 7}
BOTH = tuple(2 * channels for channels in CHANNELS)


@pytest.fixture(scope='module')
def learner():
    """A trained expansion stage of cls and det, pruned a little."""
    sources = {name: source for name, source in tiny_sources().items() if source['task'] != 'seg'}
    learner = MODELS.build(
        dict(type='ExpansionLearner', backbone=tiny_expanded('cls', 'det', widths=WIDTHS), sources=sources)
    )
    learner.init_weights()
    randomise(learner.backbone)
    return learner.eval()


@pytest.fixture(scope='module')
def checkpoint(learner, tmp_path_factory):
    path = tmp_path_factory.mktemp('expansion') / 'iter_9.pth'
    torch.save({'state_dict': learner.state_dict(), 'meta': {'xlearner': learner.describe()}}, path)
    return str(path)


def downstream(**kwargs):
    backbone = MODELS.build(tiny_expanded('cls', 'det', **{'widths': WIDTHS, **kwargs}))
    backbone.init_weights()
    return backbone


def start(checkpoint):
    return dict(type='Pretrained', checkpoint=checkpoint)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64)


def test_a_training_checkpoint_loads_and_gives_the_learners_features(learner, checkpoint, x):
    backbone = downstream(init_cfg=start(checkpoint)).eval()
    wanted = zip(learner.backbone.forward_task(x, 'cls'), learner.backbone.forward_task(x, 'det'), strict=True)
    for mine, theirs in zip(backbone(x), wanted, strict=True):
        assert torch.equal(mine, torch.cat(theirs, dim=1))
    assert backbone.out_channels == BOTH


def test_branches_that_round_sizes_differently_are_given_side_by_side_too():
    convnext = dict(
        _scope_='mmpretrain',
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32]),
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
    )
    branches = {'cls': tiny_expanded('cls')['branches']['cls'], 'det': convnext}
    backbone = MODELS.build(dict(type='XLearnerExpandedBackbone', branches=branches)).eval()
    backbone.init_weights()
    x = torch.randn(1, 3, 70, 70)
    ceil, floor = (backbone.forward_branches(x)[name] for name in ('cls', 'det'))
    assert [(len(a[0, 0]), len(b[0, 0])) for a, b in zip(ceil, floor, strict=True)] == [
        (18, 17),
        (9, 8),
        (5, 4),
        (3, 2),
    ]
    for level, mine in enumerate(backbone(x)):
        own, other = mine.split([ceil[level].shape[1], floor[level].shape[1]], dim=1)
        assert torch.equal(own, ceil[level])
        assert torch.equal(other, torch.nn.functional.interpolate(floor[level], own.shape[-2:], mode='nearest'))


@pytest.mark.parametrize('merge', ['cls', 'det'])
def test_merged_to_one_branch_it_gives_that_branchs_features(merge, learner, checkpoint, x):
    backbone = downstream(init_cfg=start(checkpoint), merge=merge, out_indices=(1, 3)).eval()
    wanted = learner.backbone.forward_task(x, merge)
    assert backbone.out_channels == (CHANNELS[1], CHANNELS[3])
    assert all(torch.equal(mine, wanted[i]) for mine, i in zip(backbone(x), (1, 3), strict=True))


def test_merged_to_one_branch_the_others_run_as_deep_as_links_read_and_do_not_train(x):
    backbone = downstream(merge='det').train()
    ran = []
    for name, branch in backbone.branches.items():
        for level in range(4):
            branch.stage(level).register_forward_hook(lambda *_, key=(name, level): ran.append(key))
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    sum(f.square().mean() for f in backbone(x)).backward()
    assert sorted(ran) == sorted([('det', i) for i in range(4)] + [('cls', i) for i in range(3)])
    trains = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trains == {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert all(name.startswith('branches.det.') or '__det_' in name for name in trains)
    changed = {name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert all(name.startswith('branches.det.') or '__det_' in name for name in changed)


def test_an_incomplete_checkpoint_is_refused(checkpoint, tmp_path):
    with pytest.raises(
        CheckpointError,
        match=r"was pruned: give XLearnerExpandedBackbone its widths=\{'branches.det.backbone.layer4.1.conv1': 7\}",
    ):
        downstream(widths=None, init_cfg=start(checkpoint))
    content = torch.load(checkpoint, weights_only=False)
    content['state_dict'] = {key: v for key, v in content['state_dict'].items() if 'links.cls_0__det_0' not in key}
    torch.save(content, tmp_path / 'partial.pth')
    with pytest.raises(CheckpointError, match=r'missing:\s+links.cls_0__det_0'):
        downstream(init_cfg=start(str(tmp_path / 'partial.pth')))


def trainable(backbone):
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


def test_frozen_as_a_whole_nothing_trains_and_norms_infer(x):
    backbone = downstream(frozen_stages=4)
    assert backbone.train() is backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert not any(f.requires_grad for f in backbone(x))
    assert trainable(backbone) == set()
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_frozen_to_a_level_the_stems_the_stages_and_the_links_into_them_are(x):
    backbone = downstream(frozen_stages=2).train()
    free = trainable(backbone)
    assert not any(part in name for name in free for part in ('.conv1.weight', '.bn1.') if name.count('.') == 4)
    assert {name.split('.')[3] for name in free if name.startswith('branches')} == {'layer3', 'layer4'}
    assert {name.split('.')[1].rsplit('_', 1)[-1] for name in free if name.startswith('links')} == {'2'}
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(x)
    changed = {name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert {name.split('.')[3] for name in changed if name.startswith('branches')} == {'layer3', 'layer4'}


def test_norms_infer_on_request_while_weights_train(x):
    backbone = downstream(norm_eval=True).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    sum(f.square().mean() for f in backbone(x)).backward()
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())
    assert trainable(backbone) == {name for name, _ in backbone.named_parameters()}


@pytest.mark.parametrize(
    ('network', 'source'),
    [
        (tiny_classifier(5, in_channels=BOTH[-1]), 'birds'),
        (tiny_detector(3, in_channels=BOTH), 'boxes'),
        (tiny_segmentor(4, in_channels=BOTH), 'masks'),
    ],
    ids=['mmpretrain', 'mmdet', 'mmseg'],
)
def test_stock_networks_train_on_it(network, source, checkpoint):
    backbone = tiny_expanded('cls', 'det', widths=WIDTHS, init_cfg=start(checkpoint), frozen_stages=4, norm_eval=True)
    backbone['out_indices'] = network['backbone'].get('out_indices')
    model = MODELS.build({**network, 'backbone': backbone})
    model.init_weights()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = model(**model.train().data_preprocessor(tiny_batch(2)[source], training=True), mode='loss')
    sum(
        torch.as_tensor(part).sum() for loss in losses.values() for part in ([loss] if torch.is_tensor(loss) else loss)
    ).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(merge='depth'), "merge='depth' is neither 'concat' nor a task or branch"),
        (dict(widths={'stem': 3}), r"widths of \['stem'\] are not inner widths"),
    ],
)
def test_settings_of_other_branches_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        downstream(**change)
