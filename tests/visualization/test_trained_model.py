import os.path as osp
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.engine.conftest import CONFIGS
from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.errors import CheckpointError, SourceError
from xlearner_mm.models.expansion import ExpansionLearner
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import with_sources
from xlearner_mm.visualization.trained_model import images_of_files, images_of_sources, load_trained


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


def test_the_path_of_a_moved_teacher_can_be_given(trained, distilled_from, tmp_path):
    squeeze, config = distilled_from(checkpoint='gone.pth')
    shutil.copy(trained[0], tmp_path / 'moved.pth')
    loaded = load_trained(squeeze, config, [f'model.teacher.checkpoint={tmp_path / "moved.pth"}'])
    assert loaded.model.teacher.checkpoint == str(tmp_path / 'moved.pth')


def test_another_teacher_than_it_was_distilled_from_is_refused(distilled_from):
    with pytest.raises(CheckpointError, match=r'expansion/iter_2.pth .* gone.pth.* missing'):
        load_trained(*distilled_from(checkpoint='gone.pth', sha256='0' * 64))


def test_an_ambiguous_config_must_be_given(trained, tmp_path):
    checkpoint = shutil.copy(trained[0], tmp_path)
    with pytest.raises(CheckpointError, match=r'iter_2.pth .*no config: .* --config'):
        load_trained(checkpoint)
    for name in ('one.py', 'another.py'):
        (tmp_path / name).write_text('a = 1')
    with pytest.raises(CheckpointError, match='more than one config'):
        load_trained(checkpoint)


def test_a_checkpoint_of_another_model_is_refused(trained):
    with pytest.raises(CheckpointError, match='does not fit ExpansionLearner'):
        load_trained(trained[1], osp.join(osp.dirname(trained[0]), 'training.py'))


@pytest.fixture
def learner(inside):
    return MODELS.build(with_sources(Config.fromfile(CONFIGS / 'hard_sharing_seg_r18.py'))['model'])


@pytest.fixture
def photograph(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png', pixels


def test_images_are_spread_over_the_validation_set_of_each_source(learner):
    images = images_of_sources(learner, count=2)
    assert [image.label for image in images] == [name for name in learner.sources for _ in range(2)]
    assert all(not np.array_equal(*(i.picture for i in images if i.label == name)) for name in learner.sources)


def test_sources_may_be_chosen(learner):
    assert [image.label for image in images_of_sources(learner, ['seg_things', 'digits'])] == ['seg_things', 'digits']


def test_the_drawn_image_is_the_models_input(learner, photograph):
    path, pixels = photograph
    (image,) = images_of_files(learner, [path], 'digits')
    assert image.label == 'photo'
    assert np.array_equal(image.picture, pixels)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    seen = image.inputs[0].permute(1, 2, 0)[:40, :64] * std + mean
    assert torch.allclose(seen, torch.from_numpy(pixels).float(), atol=1e-3)


@pytest.mark.parametrize('source', ['digits', 'det_shapes', 'seg_things'])
def test_files_go_through_the_pipeline_of_any_librarys_source(learner, photograph, source):
    (image,) = images_of_files(learner, [photograph[0]], source)
    assert image.picture.ndim == 3
    assert all(padded >= size for padded, size in zip(image.inputs.shape[-2:], image.picture.shape[:2], strict=True))


def test_missing_files_are_named(learner, tmp_path):
    with pytest.raises(SourceError, match=r"unknown source 'coco'; the sources are \["):
        images_of_sources(learner, ['coco'])
    with pytest.raises(FileNotFoundError, match='nowhere.png .*exist'):
        images_of_files(learner, [tmp_path / 'nowhere.png'])


def test_a_source_whose_files_are_gone_is_named(learner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"source 'digits': .*validation images.*: .* --images"):
        images_of_sources(learner, ['digits'])
