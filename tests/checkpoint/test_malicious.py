"""A malicious pickle is executed through none of our doors."""

import os

import pytest
import torch

import xlearner_mm
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export import export_backbone
from xlearner_mm.models.distillation.teachers import FrozenModel
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_expanded, tiny_resnet, tiny_sources

PRETRAINED = 'Pretrained'


def init_weights(config):
    MODELS.build(config).init_weights()


def start_branch(path):
    branch = tiny_resnet(init_cfg=dict(type=PRETRAINED, checkpoint=path))
    init_weights(dict(type='XLearnerExpandedBackbone', branches=dict(cls=branch)))


def start_stock_branch(path):
    branch = dict(tiny_resnet(init_cfg=dict(type=PRETRAINED, checkpoint=path)), type='mmdet.ResNet')
    init_weights(dict(type='XLearnerExpandedBackbone', branches=dict(cls=branch)))


def teach(path):
    learner = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    MODELS.build(dict(type='FitNetDistiller', teacher=dict(model=learner, checkpoint=path), student=tiny_resnet()))


DOORS = {
    'init_cfg': lambda path: init_weights(tiny_resnet(init_cfg=dict(type=PRETRAINED, checkpoint=path))),
    'init_cfg of a branch': start_branch,
    'init_cfg of a stock branch': start_stock_branch,
    'teacher': teach,
    'hint': lambda path: FrozenModel(tiny_resnet(), path, what='hint'),
    'export': lambda path: export_backbone(path, path + '.safetensors'),
    'get_backbone': xlearner_mm.get_backbone,
    'get_backbone with a config': lambda path: xlearner_mm.get_backbone(path, backbone=tiny_resnet()),
    'extract_features': lambda path: xlearner_mm.extract_features(path, torch.rand(3, 64, 64)),
}


@pytest.mark.parametrize('door', DOORS.values(), ids=DOORS)
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, door):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'state_dict': {'conv1.weight': Evil()}, 'meta': {}}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=r'evil\.pth is refused: .*execute'):
        door(str(tmp_path / 'evil.pth'))
    assert [path.name for path in tmp_path.iterdir()] == ['evil.pth']


@pytest.mark.parametrize('door', ['export', 'get_backbone', 'extract_features'])
def test_settings_that_name_a_function_are_refused_and_not_run(tmp_path, door):
    evil = dict(type='os.mkdir', path=str(tmp_path / 'executed'))
    description = dict(stage='squeeze', backbone=evil, sources={}, normalization=[None, None, 'rgb'])
    torch.save({'state_dict': {'student.w': torch.ones(1)}, 'meta': {'xlearner': description}}, tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=r"evil\.pth is refused: .*settings.* type 'os\.mkdir'"):
        DOORS[door](str(tmp_path / 'evil.pth'))
    assert [path.name for path in tmp_path.iterdir()] == ['evil.pth']
