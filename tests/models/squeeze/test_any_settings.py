"""Any valid settings of a squeeze: one loss per branch and level, no teacher gradients, correct weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper

from tests.any_settings import FEW, MANY
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_resnet_ending_at, tiny_sources

from ..expansion.reference import randomise

SOURCES = {name: source for name, source in tiny_sources().items() if name != 'boxes'}
BRANCHES = ('cls', 'seg')
TRANSFORMS = ('Channel', 'Scalar', 'PHI')
GUIDANCE = ('GuidanceLayer', 'TwoLayerGuidance')
LOSSES = (
    dict(type='FitNetLoss', reduction='mean'),
    dict(type='FitNetLoss', reduction='sum'),
    dict(type='SmoothL1CosineLoss', smooth_l1=0.1, cosine=0.9),
)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """A saved expansion stage of two branches: the config that a distiller's `teacher` takes."""
    torch.manual_seed(0)
    model = dict(type='ExpansionLearner', backbone=tiny_expanded(*BRANCHES), sources=SOURCES)
    learner = MODELS.build(model)
    learner.init_weights()
    randomise(learner.backbone)
    path = tmp_path_factory.mktemp('teacher') / 'expansion.pth'
    torch.save({'state_dict': learner.state_dict(), 'meta': {}}, path)
    return dict(model=model, checkpoint=str(path))


@st.composite
def squeezes(draw):
    """Settings of a distiller without its teacher."""
    levels = draw(st.lists(st.integers(0, 3), min_size=1, unique=True))
    weights = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    return dict(
        student=tiny_resnet_ending_at(max(levels), base_channels=draw(st.sampled_from([4, 6]))),
        levels=levels,
        supervise=draw(st.sampled_from(['all', 'own'])),
        standardize=draw(st.sampled_from([None, *(dict(type=f'{kind}Standardize') for kind in TRANSFORMS)])),
        guidance=dict(type=draw(st.sampled_from(GUIDANCE)), norm=draw(st.booleans())),
        balance=draw(st.sampled_from(['source', 'image'])),
        source_weights=draw(st.dictionaries(st.sampled_from(list(SOURCES)), st.sampled_from([0.5, 1.0, 3.0]))),
        loss=draw(st.sampled_from(LOSSES)),
        branch_weights=draw(st.dictionaries(st.sampled_from(BRANCHES), weights)),
        level_weights=draw(st.dictionaries(st.sampled_from(levels), weights)),
    )


@st.composite
def random_steps(draw):
    """Settings of a distiller whose steps depend on a seed."""
    return dict(
        drop_teachers=draw(st.sampled_from([0.0, 0.5])),
        mix=draw(st.sampled_from([None, dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])),
        heads=draw(st.sampled_from([None, dict(loss='labels', weight=0.5), dict(loss='outputs')])),
        start_from=draw(st.sampled_from([None, 'seg', 'average'])),
    )


def build(teacher, drawn, fold_norms):
    torch.manual_seed(0)
    config = dict(type='FitNetDistiller', teacher=dict(teacher, fold_norms=fold_norms), **drawn)
    distiller = MODELS.build(config)
    distiller.init_weights()
    return distiller


def losses_of(distiller, sources):
    batch = {name: data for name, data in tiny_batch().items() if name in sources}
    return distiller(**distiller.data_preprocessor(batch, True), mode='loss')


def weight_of(drawn, branch, level):
    return drawn['branch_weights'].get(branch, 1.0) * drawn['level_weights'].get(level, 1.0)


def check_losses(losses, drawn):
    assert losses.keys() == {f'loss_{branch}_{level}' for branch in BRANCHES for level in drawn['levels']}
    for branch in BRANCHES:
        for level in drawn['levels']:
            loss = losses[f'loss_{branch}_{level}']
            assert loss.shape == ()
            assert torch.isfinite(loss)
            assert (loss > 0) == (weight_of(drawn, branch, level) > 0)


def check_gradients(distiller, losses, drawn, before):
    distiller.parse_losses(losses)[0].backward()
    teacher = distiller.teacher.learner
    assert all(parameter.grad is None for parameter in teacher.parameters())
    own = {id(parameter) for parameter in distiller.parameters()}
    assert own.isdisjoint(id(parameter) for parameter in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not any('teacher' in name for name in distiller.state_dict())
    for name, parameter in distiller.guidance.named_parameters():
        branch, level = name.split('.')[0].rsplit('_', 1)
        assert parameter.grad is not None
        if weight_of(drawn, branch, int(level)) == 0:
            assert parameter.grad.abs().max() == 0
    for name, parameter in distiller.student.named_parameters():
        assert parameter.grad is not None, name


def check_weights_weigh(teacher, drawn, fold_norms, losses, sources):
    plain = {**drawn, 'branch_weights': {}, 'level_weights': {}}
    unweighted = losses_of(build(teacher, plain, fold_norms), sources)
    for name, loss in losses.items():
        _, branch, level = name.split('_')
        torch.testing.assert_close(loss, unweighted[name] * weight_of(drawn, branch, int(level)))


def check(teacher, drawn, fold_norms):
    distiller = build(teacher, drawn, fold_norms)
    before = {name: value.clone() for name, value in distiller.teacher.learner.state_dict().items()}
    losses = losses_of(distiller, SOURCES)
    check_losses(losses, drawn)
    check_weights_weigh(teacher, drawn, fold_norms, losses, SOURCES)
    check_gradients(distiller, losses, drawn, before)


@given(drawn=squeezes(), fold_norms=st.booleans())
@FEW
def test_invariants(teacher, drawn, fold_norms):
    check(teacher, drawn, fold_norms)


@given(drawn=squeezes(), random=random_steps())
@FEW
def test_any_combination_trains(teacher, drawn, random):
    if len(drawn['levels']) < 4 or drawn['student']['base_channels'] != 4:
        random['start_from'] = None  # another architecture than the branches
    if len(drawn['levels']) < 4 or (random['mix'] and random['heads'] == dict(loss='labels', weight=0.5)):
        random['heads'] = None
    if drawn['supervise'] == 'own':
        random['drop_teachers'] = 0.0  # no image has several teachers
    distiller = build(teacher, {**drawn, **random}, fold_norms=True).train()
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=1e-3))
    batch = {name: data for name, data in tiny_batch().items() if name in SOURCES}
    for _ in range(2):
        losses = distiller.train_step(batch, optimizer)
        assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(value.isfinite().all() for value in distiller.state_dict().values())
    for branch in BRANCHES:
        for level in drawn['levels']:
            read = distiller.forward_task(torch.randn(1, 3, 64, 64), branch, [level])[level]
            assert read.isfinite().all()


@pytest.mark.slow
@given(drawn=squeezes(), fold_norms=st.booleans())
@MANY
def test_invariants_of_many(teacher, drawn, fold_norms):
    check(teacher, drawn, fold_norms)
