import pytest
import torch

from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources

from ..expansion.reference import randomise


@pytest.fixture
def learner_cfg():
    return dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())


@pytest.fixture
def teacher(learner_cfg, tmp_path):
    """A saved expansion stage: the config that a distiller's `teacher` takes."""
    learner = MODELS.build(learner_cfg)
    learner.init_weights()
    randomise(learner.backbone)
    path = tmp_path / 'expansion.pth'
    torch.save({'state_dict': learner.state_dict(), 'meta': {}}, path)
    return dict(model=learner_cfg, checkpoint=str(path))


@pytest.fixture
def build(teacher):
    def build(**kwargs):
        cfg = dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet())
        distiller = MODELS.build({**cfg, **kwargs})
        distiller.init_weights()
        return distiller

    return build
