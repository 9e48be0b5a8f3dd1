"""Pruning steps: which widths, how many, and which are never pruned."""

import copy
import sys

import pytest
import torch
from torch_pruning import utils

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.expansion.links import inner_widths
from xlearner_mm.models.squeeze.pruning import CRITERIA, Pruning, build_criterion
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import CHANNELS, tiny_expanded, tiny_resnet, tiny_sources

from ..expansion.reference import randomise

TARGET = 60_000  # of 94,824: two branches with links


def expanded(**kwargs):
    return randomise(MODELS.build(tiny_expanded('cls', 'det', **kwargs)))


def params(module):
    return sum(parameter.numel() for parameter in module.parameters())


def pruned(backbone, **kwargs):
    pruning = Pruning(backbone, **{**dict(target_params=TARGET, steps=3, input_size=(64, 64)), **kwargs})
    sizes = [pruning.prune(backbone, step) for step in range(1, pruning.steps + 1)]
    return pruning, sizes


def test_steps_are_of_equal_size_and_end_at_the_target():
    backbone = expanded()
    pruning, sizes = pruned(backbone)
    full = pruning.full.params
    assert [size.params for size in sizes] == pytest.approx(
        [full - (full - TARGET) * i / 3 for i in (1, 2, 3)], rel=0.01
    )
    assert params(backbone) == sizes[-1].params <= TARGET


CRITERION_CONFIGS = [
    *(dict(type=name) for name in CRITERIA if name != 'GroupTaylorImportance'),
    dict(type='GroupMagnitudeImportance', p=1),
]


@pytest.mark.parametrize('criterion', CRITERION_CONFIGS, ids=str)
def test_every_criterion_leaves_levels_as_they_are(criterion):
    backbone, x = expanded(), torch.randn(2, 3, 64, 64)
    before = copy.deepcopy(backbone)
    pruned(backbone, criterion=criterion)
    assert [f.shape for f in backbone(x)] == [f.shape for f in before(x)]
    narrowed = {n for n, p in backbone.named_parameters() if p.shape != dict(before.named_parameters())[n].shape}
    inner = {id(p) for width in inner_widths(backbone).values() for p, _ in width.parameters()}
    assert narrowed
    assert all(id(p) in inner for n, p in backbone.named_parameters() if n in narrowed)


def test_every_source_keeps_the_shapes_of_its_outputs():
    sources = {name: source for name, source in tiny_sources().items() if source['task'] != 'seg'}
    learner = MODELS.build(dict(type='ExpansionLearner', backbone=tiny_expanded('cls', 'det'), sources=sources)).eval()
    images, before = torch.randn(2, 3, 64, 64), {}
    for prune in (False, True):
        if prune:
            pruned(learner.backbone)
        for name, network in learner.networks.items():
            out = network(images, mode='tensor')
            parts = out if isinstance(out, tuple) else (out,)
            shapes = [t.shape for part in parts for t in (part if isinstance(part, list | tuple) else [part])]
            assert before.setdefault(name, shapes) == shapes


def test_the_least_important_channels_go():
    backbone = expanded()
    name = 'branches.cls.backbone.layer4.0.conv1'
    width = inner_widths(backbone)[name]
    weak = list(range(0, 32, 2))
    width.conv.weight.data[weak] *= 1e-3
    width.consumer.weight.data[:, weak] *= 1e-3
    width.norm.weight.data[weak] *= 1e-3
    strong = width.conv.weight.data[1::2].clone()
    Pruning(backbone, target_params=90_000, steps=1).prune(backbone, 1)
    assert CHANNELS[-1] // 2 <= width.channels < CHANNELS[-1]
    kept = {tuple(row.flatten().tolist()) for row in width.conv.weight.data}
    assert kept >= {tuple(row.flatten().tolist()) for row in strong}


def test_the_least_important_channels_are_pruned_first():
    backbone = expanded()
    width = inner_widths(backbone)['branches.cls.backbone.layer4.0.conv1']
    for parameter, dim in width.parameters():
        parameter.data.index_fill_(dim, torch.arange(8), 1e-6)
    strong = width.conv.weight.data[8:].clone()
    Pruning(backbone, target_params=90_000, steps=1, keep=0.75).prune(backbone, 1)
    assert torch.equal(width.conv.weight.data, strong)


def test_gradients_decide_where_the_criterion_is_taylor():
    backbone = expanded()
    width = inner_widths(backbone)['branches.cls.backbone.layer4.0.conv1']
    sum(f.square().mean() for f in backbone(torch.randn(4, 3, 64, 64))).backward()
    for parameter, dim in width.parameters():
        parameter.grad.index_fill_(dim, torch.arange(16), 0)
    loved = width.conv.weight.data[16:].clone()
    Pruning(backbone, target_params=90_000, steps=1, criterion=dict(type='GroupTaylorImportance')).prune(backbone, 1)
    assert width.channels < CHANNELS[-1]
    assert torch.equal(width.conv.weight.data[-16:], loved)


def test_chance_level_is_deterministic_and_leaves_random_state():
    first = expanded()
    second, generator = copy.deepcopy(first), torch.get_rng_state()
    pruned(first, criterion=dict(type='RandomImportance'))
    torch.manual_seed(7)
    expected = torch.get_rng_state()
    pruned(second, criterion=dict(type='RandomImportance'))
    assert torch.equal(torch.get_rng_state(), expected)
    assert not torch.equal(generator, expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_flops_can_be_the_target_and_are_those_of_what_is_left():
    backbone = expanded()
    _, sizes = pruned(backbone, target_params=None, target_flops=1.8e6)
    assert sizes[-1].flops <= 1.8e6 < sizes[-2].flops
    counted = []
    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: counted.append(m.weight.numel() * out[0, 0].numel()))
    backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert sizes[-1].flops == sum(counted)


def test_flops_of_a_plain_resnet50_equal_the_published_count():
    cfg = tiny_expanded('cls')
    cfg['branches']['cls'] = tiny_resnet(depth=50, stem_channels=64, base_channels=64)
    backbone = MODELS.build(cfg)
    plain = Pruning(backbone, target_params=15e6).sizes(backbone)['plain XLearnerResNet as branch cls']
    assert plain['params'] == 23_508_032  # torchvision's 25,557,032 without its classifier
    theirs, _ = utils.count_ops_and_params(backbone.branches['cls'].backbone, torch.zeros(1, 3, 224, 224))
    assert plain['flops'] == pytest.approx(4.09e9, rel=0.01)
    assert plain['flops'] == pytest.approx(theirs, rel=0.02)  # theirs counts norms, ReLU and pooling too


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(target_params=9000),
            r'target_params=9000 is below what pruning inner widths can reach, \d\S+ with keep=0.1',
        ),
        (dict(target_params=None, target_flops=10), 'target_flops=10 is below'),
        (dict(target_params=1e6), 'target_params=1e.06 is not below the 9.482e.04'),
        (dict(target_params=None), 'give either target_params or target_flops'),
        (dict(target_flops=1e5), 'give either target_params or target_flops'),
        (
            dict(criterion=dict(type='FPGMImportanc')),
            "'FPGMImportanc'; did you mean 'FPGMImportance'",
        ),
        (dict(criterion='magnitude'), r"criterion.*dict\(type='GroupMagnitudeImportance'\).*'magnitude'"),
        (dict(criterion=dict(type='FPGMImportance', q=2)), "criterion 'FPGMImportance'.*'q'"),
    ],
)
def test_unsupported_pruning_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        pruned(expanded(), **change)


def test_the_floor_is_reached_and_not_passed():
    backbone = expanded()
    floor = Pruning(backbone, target_params=TARGET).floor.params
    _, sizes = pruned(backbone, target_params=floor, steps=1)
    assert sizes[-1].params == floor


def test_pruning_without_torch_pruning_is_refused_with_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ConfigError, match='^pruning needs torch-pruning: pip install torch-pruning'):
        build_criterion(dict(type='GroupMagnitudeImportance'))


def test_a_custom_criterion_is_a_registered_class():
    class LastFirst:
        def __call__(self, group):
            return -torch.arange(float(len(group[0].idxs)))

    MODELS.register_module(name='LastFirst', module=LastFirst)
    try:
        backbone = expanded()
        width = inner_widths(backbone)['branches.cls.backbone.layer4.0.conv1']
        before = width.conv.weight.data.clone()
        pruned(backbone, criterion=dict(type='LastFirst'))
    finally:
        MODELS._module_dict.pop('LastFirst')
    assert width.channels < CHANNELS[-1]
    assert torch.equal(width.conv.weight.data[:, 0], before[: width.channels, : width.conv.in_channels][:, 0])
