"""Each number of a validation of all sources is the stock library's own of that source."""

import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from xlearner_mm.engine.loops import MultiSourceValLoop, ValidationTimingLoop
from xlearner_mm.engine.recovery.stop_signal import keep_workers
from xlearner_mm.errors import BadImageError, SourceError
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import parse_sources

from ..datasets.small_sources import class_list, coco, voc, write_coco
from .conftest import CONFIGS


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


class Clock:
    """Time that passes with every batch: more with the first of a source."""

    def __init__(self):
        self.now, self.batches = 0.0, []

    def monotonic(self):
        return self.now

    def predict(self, name, batch):
        self.now += 2.0 * len(batch['inputs']) + (0 if name in self.batches else 30.0)
        self.batches.append(name)

    def evaluate(self, name, images):
        self.now += 0.5 * images
        return {}


@pytest.mark.parametrize('batch_size', [1, 3, 4, 6])
def test_a_timing_tells_the_first_batch_from_an_image(cfg, learner, tmp_path, monkeypatch, batch_size):
    monkeypatch.setattr(ValidationTimingLoop, 'at_most', lambda loop, source: 8)
    digits = cfg['sources']['digits']
    digits['val_dataloader']['batch_size'] = batch_size
    runner = Runner(
        work_dir=str(tmp_path),
        log_level='WARNING',
        model=learner,
        val_dataloader=dict(sources={'digits': digits}),
        val_evaluator=dict(type='MultiSourceEvaluator', sources={'digits': digits}),
        val_cfg=dict(type='ValidationTimingLoop'),
    )
    clock = Clock()
    loop = runner.build_val_loop(runner._val_loop)
    monkeypatch.setattr('xlearner_mm.engine.loops.time', clock)
    monkeypatch.setattr(loop.evaluator, 'evaluate', clock.evaluate)
    assert loop.measure(lambda index, name, batch: clock.predict(name, batch)) == {
        'digits/start': 30.0,
        'digits/image': 2.5,
    }
    assert len(clock.batches) == math.ceil(8 / batch_size)


@pytest.mark.parametrize(('batch_size', 'images'), [(1, 48), (16, 48), (50, 150)])
def test_a_timing_reads_few_images(inside, cfg, batch_size, images):
    digits = parse_sources({'digits': {**cfg['sources']['digits'], 'val_dataloader': dict(batch_size=batch_size)}})
    assert ValidationTimingLoop.at_most(None, digits['digits']) == images


def test_a_timing_of_one_batch_still_has_seconds_of_an_image(cfg, learner, tmp_path):
    times = validate(
        tmp_path,
        'timed',
        model=learner,
        val_dataloader=dict(sources=cfg['sources']),
        val_evaluator=dict(type='MultiSourceEvaluator', sources=cfg['sources']),
        val_cfg=dict(type='ValidationTimingLoop'),
    )
    assert set(times) == {f'{name}/{time}' for name in cfg['sources'] for time in ('start', 'image')}
    assert all(value > 0 for name, value in times.items() if name.endswith('/image'))


def test_a_source_without_validation_is_left_out(cfg, learner, tmp_path):
    sources = {name: cfg['sources'][name] for name in ('digits', 'shapes')}
    sources['shapes'] = {k: v for k, v in sources['shapes'].items() if k not in ('val_dataloader', 'val_evaluator')}
    found = validate_sources(tmp_path, learner, sources, 'part')
    assert {key.partition('/')[0] for key in found} == {'digits', 'sources'}


def test_a_loader_that_cannot_be_built_is_named_by_source(cfg, learner, tmp_path):
    sources = {'digits': cfg['sources']['digits']}
    sources['digits']['val_dataloader']['dataset']['data_root'] = 'data/nowhere'
    with pytest.raises(SourceError, match="source 'digits': .*val_dataloader"):
        validate_sources(tmp_path, learner, sources, 'bad')


def loader_of(source, **settings):
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=source['dataset'],
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    skip = dict(policy='skip', max_share=0.9)
    source = dict(
        source, val_dataloader=loader, val_evaluator=dict(type='mmpretrain.Accuracy'), bad_data=skip, **settings
    )
    sources = {'pets': source}
    runner = SimpleNamespace(build_dataloader=Runner.build_dataloader, seed=0)
    evaluator = dict(type='MultiSourceEvaluator', sources=sources)
    return MultiSourceValLoop(runner, dict(sources=sources), evaluator).dataloaders['pets']


def test_validations_keep_their_workers_when_all_processes_are_signaled(tmp_path):
    loader = loader_of(class_list(tmp_path))
    assert loader.worker_init_fn.func is keep_workers(loader).worker_init_fn.func


def test_an_unreadable_image_ends_a_validation_under_skip(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train' / '1.jpg').write_bytes(b'no picture')
    with pytest.raises(BadImageError, match=r"source 'pets': .*1\.jpg"):
        list(loader_of(source))


def test_a_label_outside_of_the_classes_ends_a_validation(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('0.jpg 2\n')
    with pytest.raises(BadImageError, match=r"source 'pets': .*0\.jpg.* label 2"):
        list(loader_of(source))


def test_a_broken_xml_file_is_named(tmp_path):
    source = voc(tmp_path)
    (tmp_path / 'Annotations' / '3.xml').write_text('')
    with pytest.raises(BadImageError, match=r"source 'pets': .*3\.xml.*annotations"):
        loader_of(source)


def test_paths_out_of_the_folders_are_refused_here_too(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('../../outside.jpg 0\n')
    with pytest.raises(SourceError, match='annotations.*img_path'):
        list(loader_of(source, strict_paths=True))


def test_impossible_objects_cost_a_validation_no_image(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, lambda content: content['annotations'][0].update(bbox=[20, 12, 0, 36]))
    dataset = loader_of(source).dataset
    assert [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))] == [0, 1, 1, 1, 1, 1]
