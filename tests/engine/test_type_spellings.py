"""Configs that spell types with a prefix, or as classes with ``read_base()``, go through every tool."""

import json

import pytest
from mmengine.config import Config

import xlearner_mm
from tests.datasets.small_sources import class_folders
from xlearner_mm.analysis.check_sources import check_config
from xlearner_mm.analysis.dry_run import dry_run
from xlearner_mm.checkpoint import read_checkpoint
from xlearner_mm.engine.launch import launch
from xlearner_mm.export import export_backbone
from xlearner_mm.registry import RUNNERS
from xlearner_mm.testing import tiny_classifier, tiny_resnet

NEW_STYLE = """
from mmengine.config import read_base
with read_base():
    from .flat import *
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop
from mmengine.model import PretrainedInit
from mmpretrain.datasets import CustomDataset, PackInputs
from mmpretrain.models import GlobalAveragePooling, ImageClassifier
from mmpretrain.evaluation import Accuracy
from torch.nn import BatchNorm2d
from torch.optim import SGD
from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler, multi_source_collate
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.hooks.stage_meta_hook import StageMetaHook
from xlearner_mm.engine.loops import MultiSourceTestLoop
from xlearner_mm.evaluation import MultiSourceEvaluator
from xlearner_mm.models import ExpansionLearner, XLearnerExpandedBackbone, XLearnerResNet

runner_type = XLearnerRunner
for source in sources.values():
    source.dataset.update(type=CustomDataset)
    source.dataset.pipeline[1].update(type=PackInputs)
    source.network.update(type=ImageClassifier)
    source.network.neck.update(type=GlobalAveragePooling)
    source.val_evaluator.update(type=Accuracy)
model.update(type=ExpansionLearner)
model.backbone.update(type=XLearnerExpandedBackbone)
model.backbone.branches.cls.update(type=XLearnerResNet, norm_cfg=dict(type=BatchNorm2d))
train_dataloader.dataset.update(type=MultiSourceDataset)
train_dataloader.sampler.update(type=MultiSourceSampler)
train_dataloader.collate_fn.update(type=multi_source_collate)
optim_wrapper.update(type=OptimWrapper)
optim_wrapper.optimizer.update(type=SGD)
train_cfg.update(type=IterBasedTrainLoop)
default_hooks.checkpoint.update(type=CheckpointHook)
custom_hooks = [dict(type=StageMetaHook)]
test_cfg.update(type=MultiSourceTestLoop)
test_evaluator.update(type=MultiSourceEvaluator)
"""


def flat(folder):
    """The settings of a training and a test of one source of two class folders."""
    source = dict(
        class_folders(folder / 'data'),
        batch_size=2,
        network=tiny_classifier(2),
        val_evaluator=dict(_scope_='mmpretrain', type='Accuracy', topk=(1,)),
    )
    source['val_dataloader'] = dict(batch_size=2, sampler=dict(type='DefaultSampler'), dataset=source['dataset'])
    backbone = dict(
        type='XLearnerExpandedBackbone', branches=dict(cls=tiny_resnet()), reconciliation=dict(topology='none')
    )
    return dict(
        default_scope='mmengine',
        sources=dict(pets=source),
        model=dict(type='ExpansionLearner', backbone=backbone),
        train_dataloader=dict(
            num_workers=0,
            dataset=dict(type='MultiSourceDataset'),
            sampler=dict(type='MultiSourceSampler'),
            collate_fn=dict(type='multi_source_collate'),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, val_interval=100),
        test_cfg=dict(type='MultiSourceTestLoop'),
        test_dataloader=dict(),
        test_evaluator=dict(type='MultiSourceEvaluator'),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        custom_hooks=[dict(type='StageMetaHook')],
        log_level='ERROR',
    )


def prefixed(settings):
    """The same settings, the types of ours and MMEngine's with their scope."""
    if isinstance(settings, dict):
        own = '_scope_' not in settings and isinstance(settings.get('type'), str)
        out = {key: value if key in ('sources', 'sampler') else prefixed(value) for key, value in settings.items()}
        return {**out, 'type': f'mmengine.{settings["type"]}'} if own else out
    return [prefixed(value) for value in settings] if isinstance(settings, list) else settings


def write(folder, spelling):
    Config(prefixed(flat(folder)) if spelling == 'prefixed' else flat(folder)).dump(folder / 'flat.py')
    if spelling == 'prefixed':
        return str(folder / 'flat.py')
    (folder / 'new_style.py').write_text(NEW_STYLE)
    return str(folder / 'new_style.py')


@pytest.mark.parametrize('spelling', ['prefixed', 'classes'])
def test_every_tool_accepts_every_spelling_of_types(tmp_path, capfd, spelling):
    config, work = write(tmp_path, spelling), tmp_path / 'work'
    assert check_config(config) == 0
    assert dry_run(config, json_file=str(tmp_path / 'dry.json')) == 0
    assert json.loads((tmp_path / 'dry.json').read_text())['sources'][0]['name'] == 'pets'
    assert launch('train', config, str(work)) == 0
    assert launch('test', config, str(tmp_path / 'test'), checkpoint=str(work)) == 0
    exported = export_backbone(str(work), str(tmp_path / 'backbone.pth'))
    assert exported['backbone']['type'] == 'XLearnerResNet'.replace(
        'X', 'mmengine.X' if spelling == 'prefixed' else 'X'
    )
    assert xlearner_mm.get_backbone(tmp_path / 'backbone.pth').channels == (4, 8, 16, 32)
    assert (work / 'last_checkpoint').is_file()


@pytest.mark.parametrize('spelling', ['prefixed', 'classes'])
def test_a_runner_built_from_python_has_all_our_hooks(tmp_path, spelling):
    cfg = Config.fromfile(write(tmp_path, spelling))
    cfg.work_dir, cfg.log_level = str(tmp_path / 'work'), 'INFO'
    # The libraries' own tools/train.py ask the registry where a config names a runner.
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else xlearner_mm.XLearnerRunner.from_cfg(cfg)
    assert type(runner) is xlearner_mm.XLearnerRunner
    hooks = [type(hook).__name__ for hook in runner.hooks]
    assert {'WholeCheckpointHook', 'FiniteLossHook', 'MultiSourceCheckHook', 'StepSeedHook'} <= set(hooks)
    assert 'CheckpointHook' not in hooks
    assert len(hooks) == len(set(hooks)), 'none is there twice'
    runner.train()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert log.read_text().count('ImageClassifier') == 1, 'the source is in the log once'
    assert read_checkpoint(str(tmp_path / 'work'))['meta']['xlearner']['sources'] == {'pets': 'cls'}
