import shutil

import pytest
import torch

from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources

from ..expansion.reference import randomise


def expansion():
    return dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())


@pytest.fixture
def learner_cfg():
    return expansion()


@pytest.fixture(scope='session')
def saved_expansion(tmp_path_factory):
    """The checkpoint of an expansion stage, of which every test has a copy."""
    torch.manual_seed(0)
    learner = MODELS.build(expansion())
    learner.init_weights()
    randomise(learner.backbone)
    path = tmp_path_factory.mktemp('expansion') / 'expansion.pth'
    torch.save({'state_dict': learner.state_dict(), 'meta': {}}, path)
    return path


@pytest.fixture
def teacher(learner_cfg, saved_expansion, tmp_path):
    """A saved expansion stage: the config that a distiller's `teacher` takes."""
    path = tmp_path / 'expansion.pth'
    shutil.copy(saved_expansion, path)
    torch.manual_seed(0)
    return dict(model=learner_cfg, checkpoint=str(path))


@pytest.fixture
def build(teacher):
    def build(**kwargs):
        cfg = dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet())
        distiller = MODELS.build({**cfg, **kwargs})
        distiller.init_weights()
        return distiller

    return build
