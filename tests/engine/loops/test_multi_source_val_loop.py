"""Each number of a validation of all sources is the stock library's own of that source."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from xlearner_mm.errors import SourceError
from xlearner_mm.registry import MODELS

from ..conftest import CONFIGS


@pytest.fixture
def cfg(inside):
    cfg = Config.fromfile(CONFIGS / 'hard_sharing_seg_r18.py').to_dict()
    for source in cfg['sources'].values():
        if source['task'] == 'det':  # a detector that knows nothing is asked for all its boxes
            source['network']['test_cfg']['score_thr'] = 0.0
    return cfg


@pytest.fixture
def learner(cfg):
    learner = MODELS.build({**cfg['model'], 'sources': cfg['sources']})
    learner.init_weights()
    return learner


def validate(tmp_path, name, **settings):
    return Runner(work_dir=str(tmp_path / name), experiment_name=name, log_level='WARNING', **settings).val()


def validate_sources(tmp_path, learner, sources, name='all'):
    return validate(
        tmp_path,
        f'{tmp_path.name}_{name}',
        model=learner,
        val_dataloader=dict(sources=sources),
        val_evaluator=dict(type='MultiSourceEvaluator', sources=sources),
        val_cfg=dict(type='MultiSourceValLoop'),
    )


def stock_network(source, learner, name):
    """The source's network as its library builds it, with a backbone of its own and the learner's weights."""
    shared = learner.backbone.branches['shared'].backbone
    out_indices = source['network']['backbone']['out_indices']
    backbone = dict(type='mmseg.ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=out_indices)
    network = MODELS.build(ConfigDict({**source['network'], 'backbone': backbone}))
    heads = learner.networks[name].state_dict()
    network.load_state_dict({**heads, **{f'backbone.{key}': value for key, value in shared.state_dict().items()}})
    return network


def test_each_number_is_the_stock_librarys_own(cfg, learner, tmp_path):
    found = validate_sources(tmp_path, learner, cfg['sources'])
    for name, source in cfg['sources'].items():
        own = validate(
            tmp_path,
            f'{tmp_path.name}_{name}',
            model=stock_network(source, learner, name),
            val_dataloader=source['val_dataloader'],
            val_evaluator=source['val_evaluator'],
            val_cfg=dict(),
            default_scope=source['network']['_scope_'],
        )
        assert own or source['task'] == 'det'
        assert {key: value for key, value in found.items() if key.startswith(f'{name}/')} == {
            f'{name}/{key}': pytest.approx(value, abs=1e-6) for key, value in own.items()
        }
    assert 0 < found['sources/mean'] <= 100


def test_validation_leaves_the_model_as_it_was(cfg, learner, tmp_path):
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    sources = {'digits': cfg['sources']['digits']}
    validate_sources(tmp_path, learner, sources, 'one')
    assert all(torch.equal(before[key], value) for key, value in learner.state_dict().items())


def test_a_source_without_validation_is_left_out(cfg, learner, tmp_path):
    sources = {name: cfg['sources'][name] for name in ('digits', 'shapes')}
    sources['shapes'] = {k: v for k, v in sources['shapes'].items() if k not in ('val_dataloader', 'val_evaluator')}
    found = validate_sources(tmp_path, learner, sources, 'part')
    assert {key.partition('/')[0] for key in found} == {'digits', 'sources'}


def test_a_loader_that_cannot_be_built_is_named_by_source(cfg, learner, tmp_path):
    sources = {'digits': cfg['sources']['digits']}
    sources['digits']['val_dataloader']['dataset']['data_root'] = 'data/nowhere'
    with pytest.raises(SourceError, match="source 'digits': its val_dataloader cannot be built"):
        validate_sources(tmp_path, learner, sources, 'bad')
