"""The lines printed at the end put the backbone into the libraries' stock networks, whose other settings stay."""

import pytest
import torch
from mmengine.config import Config

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from xlearner_mm.export import export_backbone
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.pretraining.result import usage
from xlearner_mm.registry import MODELS, init_default_scope


def of_mmdet(model, channels):
    model.neck.in_channels = channels


def of_mmseg(model, channels):
    model.decode_head.in_channels, model.auxiliary_head.in_channels = channels[3], channels[2]


def of_mmpretrain(model, channels):
    model.head.in_channels = channels[3]


STOCK = {
    'mmdet': ('retinanet/retinanet_r50_fpn_1x_coco.py', of_mmdet),
    'mmseg': ('fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', of_mmseg),
    'mmpretrain': ('resnet/resnet50_8xb32_in1k.py', of_mmpretrain),
}


@pytest.fixture(params=[{}, {'stem_channels': 8, 'base_channels': 8}], ids=['standard', 'narrow'])
def exported(request, tmp_path):
    """An exported backbone, its channels, and the lines that put it into a config."""
    trained = XLearnerResNet(18, **request.param)
    weights = {f'student.{key}': value for key, value in trained.state_dict().items()}
    normalization = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']
    backbone = {'type': 'XLearnerResNet', 'depth': 18, **request.param, 'zero_init_residual': False}
    meta = {'stage': 'squeeze', 'backbone': backbone, 'normalization': normalization, 'sources': {'birds': 'cls'}}
    torch.save({'state_dict': weights, 'meta': meta}, tmp_path / 'squeeze.pth')
    channels = export_backbone(str(tmp_path / 'squeeze.pth'), tmp_path / 'backbone.pth')['channels']
    return trained, channels, usage(tmp_path)


@pytest.mark.parametrize('library', STOCK)
def test_the_printed_lines_put_the_backbone_into_a_stock_network(tmp_path, exported, library):
    trained, channels, lines = exported
    assert len(lines.splitlines()) == 5
    assert str(channels) in lines.splitlines()[-1]
    config, adapt = STOCK[library]
    (tmp_path / 'config.py').write_text(f"_base_ = '{library}::{config}'\n{lines}\n")
    cfg = Config.fromfile(tmp_path / 'config.py')
    init_default_scope(library)
    adapt(cfg.model, channels)
    built = MODELS.build(cfg.model).backbone
    built.init_weights()
    state = built.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in trained.state_dict().items())
    (tmp_path / 'stock.py').write_text(f"_base_ = '{library}::{config}'\n")
    stock = Config.fromfile(tmp_path / 'stock.py').model.backbone
    for kept in ('out_indices', 'strides', 'dilations', 'frozen_stages', 'norm_eval'):
        if kept in stock:
            assert cfg.model.backbone[kept] == stock[kept]
