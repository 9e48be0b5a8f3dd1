"""A stock config of mmdet and one of mmseg train and validate with our backbone from an export.

Changed are `backbone.type`, where it starts, and `custom_imports`. Sizes and steps are cut down for a test.
"""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tests.fixtures import write_fixtures
from xlearner_mm.models import XLearnerResNet
from xlearner_mm.models.backbones import resnet_class

from .stock_walk import folder_of

RGB = [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375], 'rgb']


@pytest.fixture
def export(tmp_path):
    """A function that writes an export of a depth, trained on RGB images."""

    def write(depth):
        cfg = dict(type='XLearnerResNet', depth=depth)
        path = str(tmp_path / 'backbone.pth')
        meta = dict(backbone=cfg, normalization=RGB)
        torch.save({'state_dict': XLearnerResNet(depth).state_dict(), 'meta': meta}, path)
        return path

    return write


def dropped_in(library, file, checkpoint):
    """Apply only the changes that a user makes."""
    cfg = Config.fromfile(folder_of(library) / file)
    cfg.custom_imports = dict(imports=['xlearner_mm'], allow_failed_imports=False)
    cfg.model.backbone.type = 'XLearnerResNet'
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    return cfg


def trained(cfg, data_root, work_dir):
    """Run two steps and a validation on a fixture's data; return the runner and its results."""
    loaders = [cfg.train_dataloader, cfg.val_dataloader]
    for loader in loaders:
        loader.update(num_workers=0, batch_size=2, persistent_workers=False)
        loader.dataset.data_root = data_root
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.work_dir = str(work_dir)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.slow
def test_a_stock_detector(tmp_path, export):
    cfg = dropped_in('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco.py', export(18))
    write_fixtures(tmp_path, ['coco'], images=4)
    root = f'{tmp_path}/coco/'
    cfg.val_evaluator.ann_file = root + 'annotations/instances_val2017.json'
    cfg.train_cfg.max_epochs = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        next(step for step in loader.dataset.pipeline if step.type == 'Resize').scale = (160, 96)
    runner = trained(cfg, root, tmp_path / 'work')
    assert runner.iter == 2
    assert isinstance(runner.model.backbone, resnet_class('mmdet'))
    # Its `frozen_stages=1` keeps the stem as it was loaded.
    stem = torch.load(cfg.model.backbone.init_cfg.checkpoint, weights_only=True)['state_dict']['conv1.weight']
    assert torch.equal(runner.model.backbone.conv1.weight, stem)
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())


@pytest.mark.slow
def test_a_stock_segmentor(tmp_path, export):
    cfg = dropped_in('mmseg', 'fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py', export(50))
    write_fixtures(tmp_path, ['ade20k'], images=4)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.model.data_preprocessor.size = (64, 64)
    for step in [*cfg.train_dataloader.dataset.pipeline, *cfg.val_dataloader.dataset.pipeline]:
        if step.type in ('RandomResize', 'Resize'):
            step.scale = (96, 64)
        elif step.type == 'RandomCrop':
            step.crop_size = (64, 64)
    runner = trained(cfg, f'{tmp_path}/ade/ADEChallengeData2016', tmp_path / 'work')
    assert runner.iter == 2
    assert isinstance(runner.model.backbone, resnet_class('mmseg'))
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
