"""Settings that count epochs in an iteration-based training, or never act, are refused before the first step."""

import pytest

from xlearner_mm.engine.hooks.loop_units_hook import check_units
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import ConfigError

from ..tiny_runner import tiny_runner

STEPS = 20
BY_STEPS = dict(type='CheckpointHook', by_epoch=False, interval=5)
LOGGER = dict(type='LoggerHook', log_metric_by_epoch=False)
VALIDATION = dict(val_dataloader=dict(), val_cfg=dict(), val_evaluator=dict(type='MultiSourceEvaluator'))
SGD = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))


def built(folder, train_cfg=None, checkpoint=BY_STEPS, logger=LOGGER, sampler=None, epochs=None, **settings):
    """A training whose loop and schedules are built, by iterations unless ``epochs`` are given."""
    loop = dict(type='IterBasedTrainLoop', max_iters=STEPS)
    if epochs is not None:
        loop = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
    hooks = dict(logger=logger, checkpoint=checkpoint)
    settings = dict(train_cfg={**loop, **(train_cfg or {})}, default_hooks=hooks, optim_wrapper=SGD) | settings
    runner = tiny_runner(folder, runner=XLearnerRunner, **settings)
    runner._train_dataloader['sampler'].update(sampler or {})
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    assert runner.train_loop
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return runner


def refusal(*args, **kwargs):
    with pytest.raises(ConfigError) as told:
        check_units(built(*args, **kwargs))
    return str(told.value)


EPOCHS = dict(checkpoint=dict(type='CheckpointHook', interval=1), log_processor=dict(by_epoch=True))


def test_endless_epochs_are_refused_and_finite_ones_accepted(tmp_path):
    told = refusal(tmp_path, epochs=2, **EPOCHS)
    assert 'sampler.steps_per_epoch' in told
    assert 'IterBasedTrainLoop' in told
    assert check_units(built(tmp_path, epochs=2, sampler=dict(steps_per_epoch=3), **EPOCHS)) == []


def test_an_endless_stock_dataset_is_refused(tmp_path):
    loader = dict(
        batch_size=2, dataset=dict(type='TinyImageDataset', source='cars'), sampler=dict(type='InfiniteSampler')
    )
    told = refusal(tmp_path, epochs=2, train_dataloader=loader, **EPOCHS)
    assert 'InfiniteSampler' in told
    assert 'DefaultSampler' in told


def test_a_dry_run_does_not_start_training(tmp_path):
    runner = built(tmp_path, epochs=2, **EPOCHS)
    with pytest.raises(ConfigError, match='steps_per_epoch'):
        runner.train()
    assert runner.iter == 0


def test_steps_of_an_epoch_are_refused_in_a_training_of_iterations(tmp_path):
    assert 'steps_per_epoch' in refusal(tmp_path, sampler=dict(steps_per_epoch=3))


@pytest.mark.parametrize(
    ('schedule', 'parameter'),
    [
        (dict(type='LinearLR', start_factor=0.01, begin=0, end=10), 'lr'),
        (dict(type='MultiStepLR', milestones=[10, 15]), 'lr'),
        (dict(type='CosineAnnealingMomentum', T_max=5), 'momentum'),
    ],
)
def test_a_schedule_of_epochs_is_refused_in_a_training_of_iterations(tmp_path, schedule, parameter):
    good = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=STEPS)
    told = refusal(tmp_path, param_scheduler=[good, schedule])
    assert 'param_scheduler[1]' in told
    assert schedule['type'] in told
    assert parameter in told
    assert 'by_epoch=False' in told


def test_schedules_that_are_stepped_pass(tmp_path):
    converted = dict(type='CosineAnnealingLR', begin=0, end=10, T_max=10, convert_to_iter_based=True)
    assert check_units(built(tmp_path, train_cfg=dict(max_iters=40), param_scheduler=converted)) == []
    in_epochs = dict(epochs=4, sampler=dict(steps_per_epoch=5), **EPOCHS)
    both = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=7), dict(type='MultiStepLR', milestones=[2])]
    assert check_units(built(tmp_path, param_scheduler=both, **in_epochs)) == []


def test_a_schedule_by_metrics_needs_only_validations(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='sources/mean')
    told = refusal(tmp_path, param_scheduler=plateau)
    assert 'ReduceOnPlateauLR' in told
    assert 'val_cfg' in told
    check_units(built(tmp_path, param_scheduler=plateau, **VALIDATION))


@pytest.mark.parametrize(
    ('hook', 'named'),
    [
        (dict(type='EMAHook', begin_epoch=2), 'begin_iter'),
        (dict(type='EMAHook', begin_iter=STEPS + 1), 'begin_iter=21'),
        (dict(type='ProfilerHook', by_epoch=True), 'by_epoch=False'),
        (dict(type='EarlyStoppingHook', monitor='mean', rule='greater'), 'val_cfg'),
        (dict(type='mmdet.PipelineSwitchHook', switch_epoch=3, switch_pipeline=[]), 'switch_epoch'),
        (dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=2), 'num_last_epochs'),
        (dict(type='mmpretrain.SwitchRecipeHook', schedule=[dict(action_epoch=2, batch_augments=None)]), 'schedule'),
        (dict(type='mmpretrain.WarmupParamHook', param_name='a', module_name='b', warmup_epochs=2), 'warmup_epochs'),
    ],
)
def test_hooks_that_count_epochs_or_never_act_are_refused(tmp_path, hook, named):
    told = refusal(tmp_path, hooks=[hook])
    assert hook['type'].split('.')[-1] in told
    assert named in told


def test_checkpoints_are_saved_in_the_unit_of_the_loop(tmp_path):
    told = refusal(tmp_path, checkpoint=dict(type='CheckpointHook', interval=1))
    assert 'checkpoint' in told
    assert 'by_epoch=False' in told
    told = refusal(tmp_path, epochs=2, sampler=dict(steps_per_epoch=3), checkpoint=BY_STEPS)
    assert 'checkpoint' in told
    assert 'by_epoch=True' in told


def test_validations_that_never_come_are_refused(tmp_path):
    assert 'val_begin=21' in refusal(tmp_path, train_cfg=dict(val_begin=STEPS + 1), **VALIDATION)
    assert 'val_interval=0' in refusal(tmp_path, train_cfg=dict(val_interval=0), **VALIDATION)
    assert check_units(built(tmp_path, train_cfg=dict(val_interval=STEPS + 1), **VALIDATION)) == []


COSINE = dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=STEPS, T_max=STEPS)


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(param_scheduler=COSINE | dict(end=10, T_max=10)), ['lr', 'iteration 10', '20']),
        (dict(param_scheduler=COSINE | dict(end=40, T_max=40)), ['CosineAnnealingLR', 'iteration 40', '20']),
        (dict(param_scheduler=COSINE | dict(begin=30, end=40, T_max=10)), ['CosineAnnealingLR', 'iteration 30']),
        (dict(param_scheduler=COSINE | dict(T_max=8)), ['T_max=8', '20 iterations', 'rises again']),
        (dict(param_scheduler=COSINE | dict(T_max=90)), ['T_max=90', '20 iterations']),
        (dict(param_scheduler=dict(type='MultiStepLR', by_epoch=False, milestones=[9, 20])), ['milestones [20]']),
        (dict(train_cfg=dict(max_iters=500, val_interval=1), **VALIDATION), ['val_interval', '500 times']),
        (
            dict(train_cfg=dict(max_iters=500, dynamic_intervals=[(300, 1)]), **VALIDATION),
            ['dynamic_intervals', '200 times'],
        ),
        (dict(train_cfg=dict(dynamic_intervals=[(280, 1)]), **VALIDATION), ['dynamic_intervals', '280', '20']),
        (dict(logger=dict(type='LoggerHook')), ['log_metric_by_epoch']),
        (dict(log_processor=dict(by_epoch=True)), ['log_processor']),
        (dict(checkpoint=BY_STEPS | dict(save_best='mean', rule='greater')), ['save_best', 'no validation']),
        (dict(hooks=[dict(type='mmpretrain.PreciseBNHook')]), ['PreciseBNHook', 'interval=1']),
    ],
)
def test_schedules_and_validations_at_unexpected_times_are_logged_in_one_line(tmp_path, settings, named):
    (note,) = check_units(built(tmp_path, **settings))
    assert all(each in note for each in named)
    assert '\n' not in note


def test_a_warm_up_before_a_constant_rate_is_accepted(tmp_path):
    assert check_units(built(tmp_path, param_scheduler=dict(type='LinearLR', by_epoch=False, end=5))) == []
    both = [dict(type='LinearLR', by_epoch=False, end=5), COSINE | dict(begin=5, T_max=15)]
    assert check_units(built(tmp_path, param_scheduler=both)) == []
