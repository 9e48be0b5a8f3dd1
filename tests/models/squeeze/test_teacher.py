"""The frozen teacher: the expansion stage's features, for less work, of the right file."""

import copy

import pytest
import torch

from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.squeeze.teachers import Teacher
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_sources

from ..expansion.reference import randomise


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64)


def saved(path, learner_cfg, state=None, **meta):
    learner = MODELS.build(learner_cfg)
    randomise(learner.backbone)
    torch.save(dict(state_dict=state or learner.state_dict(), meta=meta), path)
    return dict(model=learner_cfg, checkpoint=str(path))


def test_folded_norms_give_the_same_features(teacher, x):
    plain, folded = Teacher(**teacher, fold_norms=False), Teacher(**teacher)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.learner.backbone.modules())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.learner.backbone.modules())
    for branch, levels in plain.features(x).items():
        for wanted, found in zip(levels, folded.features(x)[branch], strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_norms_that_cannot_be_folded_are_refused(teacher, monkeypatch):
    def fold_wrongly(backbone):
        next(p for p in backbone.parameters() if p.dim() == 4).data.mul_(2)

    monkeypatch.setattr('xlearner_mm.models.squeeze.teachers.fuse_conv_bn', fold_wrongly)
    with pytest.raises(ConfigError, match="norms.*level 0 of branch 'cls'; set fold"):
        Teacher(**teacher)


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_targets_have_the_precision_of_the_images(teacher, x, precision):
    seen = []
    plain, mixed = Teacher(**teacher), Teacher(**teacher, autocast=precision)
    mixed.learner.backbone.branches['cls'].stage(0).register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    found = mixed.features(x)
    assert seen == [getattr(torch, precision)]
    for branch, levels in plain.features(x).items():
        for wanted, level in zip(levels, found[branch], strict=True):
            assert level.dtype == torch.float32
            torch.testing.assert_close(level, wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


def test_an_unknown_precision_is_refused(teacher):
    with pytest.raises(ConfigError, match="teacher: unknown autocast 'int8', choose from"):
        Teacher(**teacher, autocast='int8')


def test_a_teacher_in_mixed_precision_gives_similar_losses(build):
    data = build().eval().data_preprocessor(tiny_batch(), True)
    plain = build(standardize=None).eval()(**data, mode='loss')
    distiller = build(standardize=None).eval()
    distiller.teacher.autocast = 'bfloat16'
    mixed = distiller(**data, mode='loss')
    for name, loss in plain.items():
        torch.testing.assert_close(mixed[name], loss, rtol=0.05, atol=0.01)


def test_a_deep_copy_of_its_holder_shares_it_and_does_not_move_it(build):
    distiller = build()
    other = copy.deepcopy(distiller).double()
    assert other.teacher.module is distiller.teacher.module
    assert {p.dtype for p in distiller.teacher.module.parameters()} == {torch.float32}
    assert {p.dtype for p in other.student.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ('state', 'meta', 'message'),
    [
        ({'student.conv1.weight': torch.zeros(1)}, {}, 'is of the squeeze stage, expected the expansion stage'),
        ({'conv1.weight': torch.zeros(1)}, dict(stage='squeeze'), 'is of the squeeze stage, expected'),
        (None, dict(xlearner=dict(stage='squeeze')), 'is of the squeeze stage, expected the expansion stage'),
        ({'conv1.weight': torch.zeros(1)}, {}, 'holds no branches: it is a plain backbone or another network'),
    ],
)
def test_a_checkpoint_of_another_stage_is_refused(tmp_path, learner_cfg, state, meta, message):
    with pytest.raises(CheckpointError, match=f'teacher .*wrong.pth {message}'):
        Teacher(**saved(tmp_path / 'wrong.pth', learner_cfg, state, **meta))


def test_a_pruned_expansion_stage_can_be_a_teacher(tmp_path, learner_cfg, x):
    widths = {'branches.cls.backbone.layer1.0.conv1': 1}
    narrow = dict(learner_cfg, backbone=tiny_expanded(widths=widths))
    teacher = saved(tmp_path / 'a.pth', narrow, xlearner=dict(stage='pruning', backbone=narrow['backbone']))
    taught = Teacher(**dict(teacher, model=learner_cfg))
    assert taught.learner.backbone.branches['cls'].backbone.layer1[0].conv1.out_channels == 1
    wanted = Teacher(**teacher).features(x)
    assert all(torch.equal(a, b) for a, b in zip(taught.features(x)['cls'], wanted['cls'], strict=True))


def test_a_source_unknown_to_the_model_is_named(tmp_path, learner_cfg):
    teacher = saved(tmp_path / 'a.pth', learner_cfg)
    sources = tiny_sources()
    sources['flowers'] = sources.pop('birds')
    teacher['model'] = dict(learner_cfg, sources=sources)
    with pytest.raises(CheckpointError, match=r"knows source \['birds', .* model has \['boxes', 'cars', 'flowers'"):
        Teacher(**teacher)


def test_an_unknown_branch_is_named(tmp_path, learner_cfg):
    teacher = saved(tmp_path / 'a.pth', learner_cfg)
    tasks = dict(cls='cls', det='boxes', seg='seg')
    teacher['model'] = dict(learner_cfg, backbone=tiny_expanded('cls', 'boxes', 'seg', tasks=tasks))
    with pytest.raises(CheckpointError, match=r"knows branch \['cls', 'det', 'seg'\], but the teacher's model has"):
        Teacher(**teacher)


def test_another_normalization_than_in_training_is_refused(tmp_path, learner_cfg):
    stated = [[0.0] * 3, [255.0] * 3, 'rgb']
    with pytest.raises(CheckpointError, match=r'teacher .*normalization .*mean \[0.0, .* sources .*mean \[123'):
        Teacher(**saved(tmp_path / 'a.pth', learner_cfg, xlearner=dict(stage='expansion', normalization=stated)))


def test_a_resumed_training_reads_the_teacher_it_began_with(teacher, tmp_path, learner_cfg, x):
    first = Teacher(**teacher)
    later = Teacher(**saved(tmp_path / 'later.pth', learner_cfg))
    module = later.module
    later.hold_to(first.described())
    assert later.described() == first.described()
    assert later.module is module, 'in place: what shares it follows'
    for branch, levels in first.features(x).items():
        assert all(torch.equal(a, b) for a, b in zip(levels, later.features(x)[branch], strict=True))


@pytest.mark.parametrize(('fate', 'damage'), [('has changed since', b'else'), ('is missing now', None)])
def test_a_resumed_training_without_the_teacher_it_began_with_is_refused(teacher, tmp_path, learner_cfg, fate, damage):
    began = Teacher(**saved(tmp_path / 'began.pth', learner_cfg)).described()
    (tmp_path / 'began.pth').write_bytes(damage) if damage else (tmp_path / 'began.pth').unlink()
    with pytest.raises(CheckpointError, match=rf'expansion.pth .*: .*began.pth, .* {fate}'):
        Teacher(**teacher).hold_to(began)
