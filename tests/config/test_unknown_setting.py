"""A misspelled setting of any module ends a run with one line: module, setting, nearest name and place."""

import inspect

import pytest
from mmengine.config import Config

import xlearner_mm
from tests.engine.tiny_runner import image_sources
from tests.engine.tiny_squeeze import tiny_squeeze, validated_sources, validation, write_teacher
from xlearner_mm.config.unknown_setting import explained, refuse_misspelled
from xlearner_mm.datasets import multi_source_collate
from xlearner_mm.engine.launch import launch
from xlearner_mm.errors import ConfigError
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
)
from xlearner_mm.testing import tiny_expanded

BUILT = (DATASETS, DATA_SAMPLERS, EVALUATOR, HOOKS, LOOPS, METRICS, MODELS)
OURS = [
    (registry, name)
    for registry in BUILT
    for name, module in sorted(registry.module_dict.items())
    if module.__module__.startswith(f'{xlearner_mm.__name__}.')
]


def refused(registry, settings):
    with pytest.raises(TypeError) as caught:
        registry.build(dict(settings))
    return str(explained(caught.value, Config(dict(part=[settings]))))


@pytest.mark.parametrize(('registry', 'name'), OURS, ids=[name for _, name in OURS])
def test_every_registered_module_of_ours_refuses_what_it_does_not_know(registry, name):
    line = refused(registry, dict(type=name, no_such_setting=1))
    assert line.startswith(f"{name} has no setting 'no_such_setting'; ")
    assert line.endswith('(in the config: part[0].no_such_setting)')


@pytest.mark.parametrize(('registry', 'name'), OURS, ids=[name for _, name in OURS])
def test_the_nearest_known_setting_is_suggested(registry, name):
    for setting in settings_of(registry.get(name)):
        misspelled = f'{setting}x'
        if misspelled not in settings_of(registry.get(name)):
            assert f"did you mean '{setting}'?" in refused(registry, {'type': name, misspelled: 1})


def test_all_registered_modules_are_covered():
    names = {name for _, name in OURS}
    assert {'XLearnerExpandedBackbone', 'ExpansionLearner', 'FitNetDistiller', 'TaskPort', 'XLearnerResNet'} <= names
    assert {'MultiSourceDataset', 'MultiSourceSampler', 'MultiSourceEvaluator', 'MultiSourceValLoop'} <= names
    assert {'PruningHook', 'StageMetaHook', 'RunRecordHook', 'WholeCheckpointHook'} <= names


def test_no_module_of_ours_takes_settings_that_it_does_not_name():
    """Keyword arguments may be passed on to a base class only: elsewhere, a misspelled one would not be noticed."""
    for registry, name in OURS:
        taker = registry.get(name)
        for owner in taker.__mro__ if inspect.isclass(taker) else ():
            if owner.__module__.startswith(f'{xlearner_mm.__name__}.') and '__init__' in vars(owner):
                kinds = [p.kind for p in inspect.signature(owner).parameters.values()]
                if inspect.Parameter.VAR_KEYWORD in kinds:
                    assert 'super().__init__(' in inspect.getsource(owner.__init__), name


def write(path, sources=None, model=None, **changes):
    cfg = dict(
        default_scope='mmengine',
        sources=sources or validated_sources('birds'),
        model=model or dict(type='ExpansionLearner', backbone=tiny_expanded()),
        train_dataloader=dict(
            num_workers=0,
            dataset=dict(type='MultiSourceDataset'),
            sampler=dict(type='MultiSourceSampler'),
            collate_fn=dict(type='multi_source_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1, val_interval=1),
        log_level='ERROR',
        **validation(),
    )
    config = Config(cfg)
    config.merge_from_dict(changes)
    config.dump(path)
    return str(path)


@pytest.fixture
def line(tmp_path, capfd):
    """Return the last line of a launch of a config."""

    def said(**settings):
        config = write(tmp_path / 'training.py', **settings)
        capfd.readouterr()
        assert launch('train', config, str(tmp_path / 'work')) == 1
        (found,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith('error: ')]
        return found.removeprefix('error: ')

    return said


IN_A_CONFIG = {
    'model.backbone.branches.cls.depht': (
        "XLearnerResNet has no setting 'depht'; did you mean 'depth'? "
        '(in the config: model.backbone.branches.cls.depht)'
    ),
    'model.backbone.topology': "XLearnerExpandedBackbone has no setting 'topology'; known settings: ['branches', ",
    'model.backbone.reconciliation.topolgy': "reconciliation: unknown setting 'topolgy'; did you mean 'topology'?",
    'model.source': "ExpansionLearner has no setting 'source'; did you mean 'sources'? (in the config: model.source)",
    'sources.birds.network.head.num_clases': (
        "source 'birds': LinearClsHead has no setting 'num_clases'; did you mean 'num_classes'? "
        '(in the config: sources.birds.network.head.num_clases)'
    ),
    'sources.cars.dataset.lenght': (
        "source 'cars': TinyImageDataset has no setting 'lenght'; did you mean 'length'? "
        '(in the config: sources.cars.dataset.lenght)'
    ),
    'sources.cars.batchsize': ("source 'cars': unknown setting 'batchsize'; did you mean 'batch_size'?"),
    'train_dataloader.sampler.steps_by_epoch': (
        "MultiSourceSampler has no setting 'steps_by_epoch'; did you mean 'steps_per_epoch'? "
        '(in the config: train_dataloader.sampler.steps_by_epoch)'
    ),
    'train_dataloader.num_worker': (
        "DataLoader has no setting 'num_worker'; did you mean 'num_workers'? "
        '(in the config: train_dataloader.num_worker)'
    ),
    'train_dataloader.collate_fn.sample': (
        "train_dataloader.collate_fn: multi_source_collate: unknown setting 'sample'; did you mean 'samples'?"
    ),
    'val_evaluator.source': (
        "MultiSourceEvaluator has no setting 'source'; did you mean 'sources'? (in the config: val_evaluator.source)"
    ),
    'sources.birds.val_evaluator.colect_device': (
        "source 'birds': ScoreMetric has no setting 'colect_device'; did you mean 'collect_device'? "
        '(in the config: sources.birds.val_evaluator.colect_device)'
    ),
    'val_cfg.fp61': "MultiSourceValLoop has no setting 'fp61'; did you mean 'fp16'? (in the config: val_cfg.fp61)",
    'val_dataloader.batch_size': "val_dataloader: unknown setting 'batch_size'; known settings: ['sources']",
    'custom_hooks': (
        "FiniteLossHook has no setting 'limits'; did you mean 'limit'? (in the config: custom_hooks[0].limits)"
    ),
    'default_hooks': (
        "WholeCheckpointHook has no setting 'max_keep_ckpt'; did you mean 'max_keep_ckpts'? "
        '(in the config: default_hooks.checkpoint.max_keep_ckpt)'
    ),
    'custom_hook': "the config sets 'custom_hook', which no training reads; did you mean 'custom_hooks'?",
    'optim_wrapper.clip_grads': (
        "OptimWrapper has no setting 'clip_grads'; did you mean 'clip_grad'? (in the config: optim_wrapper.clip_grads)"
    ),
}
VALUES = {
    'custom_hooks': [dict(type='FiniteLossHook', limits=3)],
    'default_hooks': dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, max_keep_ckpt=2)),
    'optim_wrapper.clip_grads': dict(max_norm=1.0),
}


@pytest.mark.parametrize('setting', IN_A_CONFIG)
def test_a_launch_names_module_setting_nearest_name_and_place(line, setting):
    assert line(**{setting: VALUES.get(setting, 1)}).startswith(IN_A_CONFIG[setting])


@pytest.mark.parametrize(
    ('setting', 'value', 'message'),
    [
        ('model.teacher.fold_norm', True,
         "FitNetDistiller: teacher: unknown setting 'fold_norm'; did you mean 'fold_norms'?"),
        ('model.student.depht', 18, "XLearnerResNet has no setting 'depht'; did you mean 'depth'?"),
        ('model.further_teachers', dict(other=dict(wieght=2.0)),
         "FitNetDistiller: further teacher 'other': unknown setting 'wieght'; did you mean 'weight'?"),
        ('model.supervize', 'own', "FitNetDistiller has no setting 'supervize'; did you mean 'supervise'?"),
    ],
)  # fmt: skip
def test_unknown_settings_in_a_squeeze(line, tmp_path, setting, value, message):
    squeeze = tiny_squeeze(write_teacher(tmp_path / 'teacher.pth'))
    del squeeze['teacher']['model']['sources']
    assert message in line(model=squeeze, sources=image_sources(), **{setting: value})


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        (dict(load_form='a.pth'), "the config sets 'load_form', which no training reads; did you mean 'load_from'"),
        (dict(env_cfg=dict(cudnn_benchmrk=True)), "env_cfg has no setting 'cudnn_benchmrk'; .* 'cudnn_benchmark'"),
        (dict(env_cfg=dict(dist_cfg=dict(timout=3))), "env_cfg.dist_cfg has no setting 'timout'; .* 'timeout'"),
        (dict(env_cfg=dict(mp_cfg=dict(start=3))), "env_cfg.mp_cfg has no setting 'start'"),
        (dict(randomness=dict(determinstic=True)), "randomness has no setting 'determinstic'; .* 'deterministic'"),
    ],
)
def test_settings_that_no_training_reads_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        refuse_misspelled(Config(settings))


def test_an_inherited_setting_of_a_replaced_type_is_explained(tmp_path, capfd):
    write(tmp_path / 'base.py')
    child = tmp_path / 'child.py'
    (tmp_path / 'momentum.py').write_text("_base_ = './base.py'\noptim_wrapper = dict(optimizer=dict(momentum=0.9))\n")
    for written in ('', ', momentum=0.5'):
        change = f"optim_wrapper = dict(optimizer=dict(type='Rprop'{written}))"
        child.write_text(f"_base_ = './momentum.py'\n{change}\n")
        capfd.readouterr()
        assert launch('train', str(child), str(tmp_path / 'work')) == 1
        err = capfd.readouterr().err
        assert "Rprop has no setting 'momentum'" in err
        assert ("child.py inherits 'momentum' from a base config" in err) == (not written)
        assert ('_delete_=True' in err) == (not written)


def test_settings_that_mmengine_reads_are_accepted():
    environment = dict(
        cudnn_benchmark=True,
        mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
        dist_cfg=dict(backend='nccl', timeout=1800, port=29500),
        resource_limit=4096,
    )
    refuse_misspelled(Config(dict(env_cfg=environment, randomness=dict(seed=1, diff_rank_seed=True), text_cfg={})))


def test_other_errors_are_unchanged():
    with pytest.raises(KeyError) as caught:
        MODELS.build(dict(type='NoSuchModel', depht=1))
    assert explained(caught.value, Config(dict(model=dict(type='NoSuchModel', depht=1)))) is caught.value
    # A fault within the code, no setting of the config.
    with pytest.raises(TypeError) as caught:
        multi_source_collate([], depht=1)
    assert explained(caught.value, Config(dict(model=dict(type='XLearnerResNet', depht=1)))) is caught.value
