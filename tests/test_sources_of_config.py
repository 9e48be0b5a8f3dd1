"""Sources are listed once, at a config's top level, and reach every component that reads them."""

import copy
import itertools

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tests.engine.tiny_runner import image_sources
from tests.engine.tiny_squeeze import validated_sources, validation
from xlearner_mm.config.options import load_config, read_config
from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.launch import launch
from xlearner_mm.engine.schedule import images_per_step
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import sources_of, with_sources
from xlearner_mm.testing import tiny_expanded, tiny_resnet

RUNS = itertools.count()


def training(**settings):
    """A training whose sources stand at top level alone."""
    return dict(
        default_scope='mmengine',
        experiment_name=f'shared_{next(RUNS)}',
        sources=validated_sources('birds', 'cars'),
        model=dict(type='ExpansionLearner', backbone=tiny_expanded()),
        train_dataloader=dict(
            num_workers=0,
            dataset=dict(type='MultiSourceDataset'),
            sampler=dict(type='MultiSourceSampler'),
            collate_fn=dict(type='multi_source_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1),
        auto_scale_lr=dict(enable=True, base_batch_size=8),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        log_level='ERROR',
        **validation(),
        **settings,
    )


def squeeze(folder):
    """A squeeze of the training's learner, whose checkpoint is written."""
    cfg = training()
    learner = MODELS.build(with_sources(cfg)['model'])
    torch.save(dict(state_dict=learner.state_dict(), meta={}), folder / 'teacher.pth')
    teacher = dict(model=cfg['model'], checkpoint=str(folder / 'teacher.pth'))
    return dict(cfg, model=dict(type='FitNetDistiller', teacher=teacher, student=tiny_resnet()))


def write(path, cfg):
    Config(cfg).dump(path)
    return str(path)


@pytest.mark.parametrize('stage', ['expansion', 'squeeze'])
def test_one_option_changes_the_batch_size_everywhere(tmp_path, stage):
    path = write(tmp_path / 'cfg.py', training() if stage == 'expansion' else squeeze(tmp_path))
    runner = XLearnerRunner.from_cfg(load_config(path, str(tmp_path / 'work'), ['sources.cars.batch_size=5'], 'none'))
    assert images_per_step(runner) == 11
    loader = runner.train_dataloader
    sizes = dict(birds=2, cars=5, boxes=2, masks=2)
    assert loader.batch_size == 11
    assert loader.sampler.batch_sizes == sizes
    for holder in (loader.dataset, runner.model):
        assert {name: source.batch_size for name, source in holder.sources.items()} == sizes
    assert runner.val_loop.evaluator.sources['cars'].batch_size == 5
    batch = next(iter(loader))
    assert {name: len(part['inputs']) for name, part in batch.items()} == sizes
    runner.train()
    assert runner.message_hub.get_info('images_per_step') == 11


def test_sources_are_parsed_once():
    filled = with_sources(training())
    dataset, evaluator = filled['train_dataloader']['dataset'], filled['val_evaluator']
    assert all(filled['model']['sources']['birds'] is part['sources']['birds'] for part in (dataset, evaluator))
    assert filled['train_dataloader']['batch_size'] == 8


def test_given_settings_are_not_modified():
    cfg = training()
    before = copy.deepcopy(cfg)
    with_sources(cfg)
    assert cfg == before


@pytest.mark.parametrize('stage', ['expansion', 'squeeze'])
def test_the_written_config_trains_again(tmp_path, stage):
    path = write(tmp_path / 'cfg.py', training() if stage == 'expansion' else squeeze(tmp_path))
    assert launch('train', path, str(tmp_path / 'first')) == 0
    written = tmp_path / 'first' / 'cfg.py'
    text = written.read_text()
    assert text.count('TinyImageDataset') == 4 + 2, 'four sources, two with a validation'
    options = ['experiment_name=again']
    assert launch('train', str(written), str(tmp_path / 'second'), options) == 0
    assert (tmp_path / 'second' / 'iter_1.pth').is_file()


@pytest.mark.parametrize('stage', ['expansion', 'squeeze'])
def test_the_stock_runner_names_our_runner_in_its_error(tmp_path, stage):
    cfg = Config(dict(training() if stage == 'expansion' else squeeze(tmp_path), work_dir=str(tmp_path / 'work')))
    with pytest.raises(ConfigError, match=r'sources.*tools/train\.py.*XLearnerRunner\.from_cfg') as caught:
        Runner.from_cfg(cfg)
    assert '\n' not in str(caught.value)


def test_the_stock_runner_takes_components_with_sources_of_their_own(tmp_path):
    cfg = training(work_dir=str(tmp_path / 'work'))
    sources = cfg.pop('sources')
    cfg['train_dataloader']['batch_size'] = 8
    for part in (cfg['model'], cfg['train_dataloader']['dataset'], cfg['val_evaluator']):
        part['sources'] = sources
    for runner in (Runner, XLearnerRunner):
        assert runner.from_cfg(Config(dict(cfg, experiment_name=runner.__name__))).train_dataloader.batch_size == 8
    assert list(sources_of(cfg)) == list(sources)


@pytest.mark.parametrize('place', ['model', 'train_dataloader.dataset', 'val_evaluator'])
def test_sources_in_a_second_place_are_refused(tmp_path, place):
    cfg = Config(training(work_dir=str(tmp_path / 'work')))
    cfg.merge_from_dict({f'{place}.sources': dict(birds=image_sources()['birds'])})
    with pytest.raises(ConfigError, match=rf"top level.*masks.*{place} \['birds'\].*leave {place}\.sources out"):
        XLearnerRunner.from_cfg(cfg)


def test_a_batch_size_that_is_not_the_sum_is_refused(tmp_path, capfd):
    path = write(tmp_path / 'cfg.py', training())
    assert launch('train', path, str(tmp_path / 'work'), ['train_dataloader.batch_size=7']) == 1
    assert 'train_dataloader.batch_size is 7, but the sources take 8' in capfd.readouterr().err


def test_a_config_without_sources_is_named(tmp_path):
    path = write(tmp_path / 'none.py', dict(model=dict(type='ToyModel')))
    with pytest.raises(ConfigError, match=r'none\.py .*no sources'):
        sources_of(read_config(path))


def test_variables_of_base_configs_hold_no_second_copy(tmp_path):
    birds = image_sources()['birds']
    write(tmp_path / 'birds.py', dict(birds=birds))
    (tmp_path / 'cfg.py').write_text("_base_ = './birds.py'\nsources = dict(birds=_base_.birds)\n")
    cfg = read_config(str(tmp_path / 'cfg.py'))
    assert 'birds' not in cfg
    assert list(cfg.sources) == ['birds']
