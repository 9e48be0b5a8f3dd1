"""The lines printed at the end put the backbone into any of the libraries' configs."""

import pytest
import torch
from mmengine.config import Config

from xlearner_mm.export import export_backbone
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.pretraining.result import usage
from xlearner_mm.registry import MODELS, init_default_scope


@pytest.mark.parametrize('widths', [{}, {'stem_channels': 8, 'base_channels': 8}], ids=['standard', 'narrow'])
@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_printed_lines_load_the_backbone(tmp_path, library, widths):
    trained = XLearnerResNet(18, **widths)
    weights = {f'student.{key}': value for key, value in trained.state_dict().items()}
    normalization = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
    backbone = {'type': 'XLearnerResNet', 'depth': 18, **widths, 'zero_init_residual': False}
    meta = {'stage': 'squeeze', 'backbone': backbone, 'normalization': normalization, 'sources': {'birds': 'cls'}}
    torch.save({'state_dict': weights, 'meta': meta}, tmp_path / 'squeeze.pth')
    channels = export_backbone(str(tmp_path / 'squeeze.pth'), tmp_path / 'backbone.pth')['channels']

    lines = usage(tmp_path)
    assert len(lines.splitlines()) == 5
    assert str(channels) in lines.splitlines()[-1]
    (tmp_path / 'base.py').write_text("model = dict(backbone=dict(type='ResNet', depth=50, style='pytorch'))\n")
    (tmp_path / 'config.py').write_text(f"_base_ = './base.py'\n{lines}\n")
    init_default_scope(library)
    built = MODELS.build(Config.fromfile(tmp_path / 'config.py').model.backbone)
    built.init_weights()
    levels = built.eval()(torch.zeros(1, 3, 64, 64))
    assert [level.shape[1] for level in levels] == channels
    state = built.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in trained.state_dict().items())
