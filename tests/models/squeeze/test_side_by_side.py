import pytest
import torch

from xlearner_mm.errors import ConfigError
from xlearner_mm.evaluation.similarity import side_by_side
from xlearner_mm.registry import MODELS

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_teachers_student_and_guided_features_of_a_squeeze(build):
    model = build(levels=(1, 3), standardize=None)
    seen = side_by_side(model, IMAGES)
    model.eval()
    teacher, student = model.teacher.features(IMAGES), model.student(IMAGES)
    assert list(seen.teachers) == list(seen.guided) == ['cls', 'det', 'seg']
    for branch in seen.teachers:
        assert list(seen.teachers[branch]) == [1, 3]
        for level in (1, 3):
            feature = teacher[branch][level]
            assert torch.equal(seen.teachers[branch][level], feature)
            assert torch.equal(seen.student[level], student[level])
            layer = model.guidance[f'{branch}_{level}']
            assert torch.allclose(seen.guided[branch][level], layer(student[level], feature.shape[-2:]))


def test_the_features_shown_are_those_the_heads_read(build):
    model = build(standardize=dict(type='ChannelStandardize')).train()
    model.loss(dict.fromkeys(model.sources, IMAGES))
    seen = side_by_side(model, IMAGES)
    read = model.eval().forward_task(IMAGES, 'det')
    assert all(torch.allclose(seen.guided['det'][level], read[level], atol=1e-6) for level in range(4))


def test_further_teachers_are_teachers(build, teacher, tmp_path):
    single = MODELS.build(dict(teacher['model']['backbone']['branches']['cls'], library='mmseg'))
    torch.save(dict(state_dict=single.state_dict()), tmp_path / 'single.pth')
    preprocessor = teacher['model']['sources']['birds']['network']['data_preprocessor']
    further = dict(
        model=teacher['model']['backbone']['branches']['cls'],
        checkpoint=str(tmp_path / 'single.pth'),
        data_preprocessor=dict(preprocessor, _scope_='mmpretrain'),
        levels=(2,),
    )
    seen = side_by_side(build(further_teachers=dict(single=further)), IMAGES)
    assert {name: list(levels) for name, levels in seen.teachers.items()}['single'] == [2]
    assert torch.allclose(seen.teachers['single'][2], single.eval()(IMAGES)[2])


def test_an_expansion_has_branches_only(learner_cfg):
    learner = MODELS.build(learner_cfg)
    learner.init_weights()
    seen = side_by_side(learner, IMAGES)
    assert (dict(seen.student), dict(seen.guided)) == ({}, {})
    learner.eval()
    assert torch.equal(seen.teachers['seg'][0], learner.backbone.forward_task(IMAGES, 'seg')[0])


def test_inspection_changes_nothing(build):
    model = build().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    side_by_side(model, IMAGES)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert modes == {name: module.training for name, module in model.named_modules()}


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match='expected an ExpansionLearner or a FitNetDistiller, got Linear'):
        side_by_side(torch.nn.Linear(1, 1), IMAGES)
