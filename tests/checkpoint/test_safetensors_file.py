from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.checkpoint.reading import safetensors_bytes
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.distillation.teachers import FrozenModel
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_resnet

META = {'stage': 'squeeze', 'sources': {'birds': 'cls'}, 'channels': [4, 8], 'branch': None}


@pytest.fixture
def resnet(tmp_path):
    """A backbone and the safetensors file of its weights."""
    backbone = MODELS.build(tiny_resnet())
    path = tmp_path / 'backbone.safetensors'
    path.write_bytes(safetensors_bytes(backbone.state_dict(), META))
    return backbone, str(path)


def test_weights_and_metadata_come_back(resnet):
    backbone, path = resnet
    content = read_checkpoint(path)
    assert content['meta'] == META
    assert content['state_dict'].keys() == backbone.state_dict().keys()
    assert all(torch.equal(value, content['state_dict'][key]) for key, value in backbone.state_dict().items())


def test_foreign_files_have_no_metadata_of_ours(tmp_path):
    save_file({'w': torch.ones(2)}, tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    content = read_checkpoint(str(tmp_path / 'model.safetensors'))
    assert content['meta'] == {}
    assert content['state_dict']['w'].tolist() == [1, 1]


def test_backbones_are_identified_by_bytes_not_names(resnet, tmp_path):
    _, path = resnet
    renamed = tmp_path / 'backbone.bin'
    renamed.write_bytes(Path(path).read_bytes())
    assert read_checkpoint(str(renamed))['meta'] == META


@pytest.mark.parametrize('kept', [0, 4, 40, 5000])
def test_a_truncated_file_is_named(resnet, tmp_path, kept):
    _, path = resnet
    cut = tmp_path / 'cut.safetensors'
    cut.write_bytes(Path(path).read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r'cut\.safetensors is damaged'):
        read_checkpoint(str(cut))


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
def test_every_backbone_starts_from_it_by_init_cfg(resnet, scope):
    backbone, path = resnet
    init_cfg = dict(type='Pretrained', checkpoint=path)
    config = (
        tiny_resnet(init_cfg=init_cfg)
        if scope == 'mmengine'
        else dict(tiny_resnet(init_cfg=init_cfg), type=f'{scope}.ResNet')
    )
    started = MODELS.build(config)
    started.init_weights()
    assert torch.equal(started.layer4[1].conv2.weight, backbone.layer4[1].conv2.weight)


def test_a_teacher_is_read_from_it(resnet):
    backbone, path = resnet
    teacher = FrozenModel(tiny_resnet(), path)
    assert torch.equal(teacher.module.conv1.weight, backbone.conv1.weight)
    assert teacher.meta == META


def test_load_from_initializes_a_training(resnet):
    backbone, path = resnet
    started = MODELS.build(tiny_resnet())
    load_checkpoint(started, path, strict=True)  # what Runner does with load_from
    assert torch.equal(started.conv1.weight, backbone.conv1.weight)
