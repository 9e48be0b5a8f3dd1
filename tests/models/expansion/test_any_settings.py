"""Any valid settings: the configured links, the formula, shapes, and the documented gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.any_settings import FEW, MANY
from xlearner_mm.models.expansion.reconciliation import TOPOLOGIES
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet

from .reference import literal_features, randomise

SIZE = 64
SENDS = {
    'lower': lambda j, i: j <= i,
    'same': lambda j, i: j == i,
    'higher': lambda j, i: j >= i,
    'all': lambda j, i: True,
    'none': lambda j, i: False,
}


@st.composite
def backbones(draw):
    """The config of an expanded backbone and one of its tasks."""
    names = draw(st.lists(st.sampled_from(['cls', 'det', 'seg']), min_size=1, max_size=3, unique=True))
    levels = {name: draw(st.sampled_from([3, 4])) for name in names}
    branches = {
        name: tiny_resnet(
            base_channels=draw(st.sampled_from([4, 6])),
            num_stages=count,
            strides=(1, 2, 2, 2)[:count],
            dilations=(1, 1, 1, 1)[:count],
            out_indices=tuple(range(count)),
        )
        for name, count in levels.items()
    }
    shared = min(levels.values())
    topology = draw(st.sampled_from(TOPOLOGIES))
    reconciliation = dict(
        topology=topology,
        fuse='output' if topology in ('higher', 'all') else draw(st.sampled_from(['stream', 'output'])),
        link=dict(type=draw(st.sampled_from(['ConvLink', 'BottleneckLink', 'PoolLink']))),
        link_levels=draw(st.lists(st.integers(0, shared - 1), unique=True)),
        include_self=draw(st.booleans()),
        detach=draw(st.booleans()),
    )
    tasks = {name: name for name in names} | {'more': draw(st.sampled_from(names))}
    config = dict(
        type='XLearnerExpandedBackbone',
        branches=branches,
        tasks=tasks,
        reconciliation=reconciliation,
        out_indices=draw(st.lists(st.integers(0, shared - 1), min_size=1, unique=True)),
        merge=draw(st.sampled_from(['concat', *tasks])),
        frozen_stages=draw(st.integers(-1, 4)),
        norm_eval=draw(st.booleans()),
    )
    return config, draw(st.sampled_from(sorted(tasks)))


def build(config):
    torch.manual_seed(0)
    backbone = MODELS.build(config)
    randomise(backbone)
    return backbone, torch.rand(2, 3, SIZE, SIZE)


def shapes(features):
    return [tuple(feature.shape) for feature in features]


def expected_shapes(branch, levels):
    return [(2, branch.channels[i], SIZE // branch.strides[i], SIZE // branch.strides[i]) for i in levels]


def check_links(backbone, config):
    settings = config['reconciliation']
    levels = {name: branch['num_stages'] for name, branch in config['branches'].items()}
    wanted = {
        (k, j, t, i)
        for k in levels
        for t in levels
        if k != t or settings['include_self']
        for i in settings['link_levels']
        for j in range(levels[k])
        if SENDS[settings['topology']](j, i)
    }
    assert set(map(tuple, backbone.link_keys)) == wanted
    assert len(backbone.links) == len(wanted)


def check_shapes(backbone, images, task):
    branch = backbone.branches[backbone.branch_of(task)]
    assert shapes(backbone.forward_task(images, task)) == expected_shapes(branch, range(len(branch.channels)))
    of_merged = [expected_shapes(backbone.branches[name], backbone.out_indices) for name in backbone.merged]
    merged = backbone(images)
    assert tuple(feature.shape[1] for feature in merged) == backbone.out_channels
    for at, feature in enumerate(merged):
        assert feature.shape[1] == sum(shape[at][1] for shape in of_merged)
        assert feature.shape[2:] == of_merged[0][at][2:]


def check_formula(backbone, images, task):
    if any(len(branch.channels) != 4 for branch in backbone.branches.values()):
        return  # what the reference takes for granted
    with torch.no_grad():
        found = backbone.eval().forward_task(images, task)
        literal = literal_features(backbone, images, backbone.branch_of(task))
    for one, other in zip(found, literal, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def check_gradients(backbone, images, task):
    receiver = backbone.branch_of(task)
    into = tuple(f'links.{key.module_name}.' for key in backbone.link_keys if key.receiver == receiver)
    promised = (f'branches.{receiver}.', *into)
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    trainable = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    features = backbone.train().forward_task(images, task)
    total = sum(feature.square().mean() for feature in features)
    if total.requires_grad:
        total.backward()
    reached = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    wanted = {name for name in trainable if name.startswith(promised)}
    assert wanted <= reached <= trainable
    if backbone.reconciliation.detach:
        assert reached == wanted
    others = [name for name in before if not name.startswith(promised)]
    assert all(torch.equal(before[name], backbone.get_buffer(name)) for name in others), "others' statistics"


def check(drawn):
    config, task = drawn
    backbone, images = build(config)
    check_links(backbone, config)
    check_gradients(backbone, images, task)
    check_shapes(backbone.eval(), images, task)
    check_formula(backbone, images, task)


@given(drawn=backbones())
@FEW
def test_invariants(drawn):
    check(drawn)


@pytest.mark.slow
@given(drawn=backbones())
@MANY
def test_invariants_of_many(drawn):
    check(drawn)
