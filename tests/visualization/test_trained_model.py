import os.path as osp
import shutil

import pytest
import torch

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.visualization.trained_model import load_trained


@pytest.fixture
def distilled_from(trained, tmp_path):
    """A squeeze checkpoint that records another path or hash of its teacher."""

    def save(**recorded):
        content = torch.load(trained[-1], weights_only=False)
        content['meta']['xlearner']['teacher'].update(recorded)
        torch.save(content, tmp_path / 'squeeze.pth')
        return str(tmp_path / 'squeeze.pth'), osp.join(osp.dirname(trained[-1]), 'training.py')

    return save


def test_the_config_beside_a_checkpoint_builds_its_model(trained):
    expansion, _, last = trained
    learner, distiller = load_trained(expansion), load_trained(osp.dirname(last))
    assert (type(learner.model), learner.step) == (ExpansionLearner, 2)
    assert (type(distiller.model), distiller.step, distiller.checkpoint) == (FitNetDistiller, 5, last)
    assert not distiller.model.training
    saved = read_checkpoint(last)['state_dict']
    assert all(torch.equal(saved[key], value) for key, value in distiller.model.state_dict().items())


def test_a_moved_teacher_may_be_named(trained, distilled_from, tmp_path):
    squeeze, config = distilled_from(checkpoint='gone.pth')
    shutil.copy(trained[0], tmp_path / 'moved.pth')
    loaded = load_trained(squeeze, config, [f'model.teacher.checkpoint={tmp_path / "moved.pth"}'])
    assert loaded.model.teacher.checkpoint == str(tmp_path / 'moved.pth')


def test_another_teacher_than_it_was_distilled_from_is_refused(distilled_from):
    with pytest.raises(CheckpointError, match=r'expansion/iter_2.pth is not the one .* gone.pth.* is missing now'):
        load_trained(*distilled_from(checkpoint='gone.pth', sha256='0' * 64))


def test_a_config_is_asked_for_where_it_cannot_be_told(trained, tmp_path):
    checkpoint = shutil.copy(trained[0], tmp_path)
    with pytest.raises(CheckpointError, match=r'beside .*iter_2.pth there is no config: .* --config'):
        load_trained(checkpoint)
    for name in ('one.py', 'another.py'):
        (tmp_path / name).write_text('a = 1')
    with pytest.raises(CheckpointError, match='there is more than one config'):
        load_trained(checkpoint)


def test_a_checkpoint_of_another_model_is_refused(trained):
    with pytest.raises(CheckpointError, match='does not fit ExpansionLearner'):
        load_trained(trained[1], osp.join(osp.dirname(trained[0]), 'training.py'))
