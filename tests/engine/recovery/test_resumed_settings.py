"""Whose schedule and optimizer settings a resumed training has: its checkpoint's, said in one line, or the config's."""

import logging

import numpy as np
import pytest
import torch

from tests.engine.toy_training import toy_runner, trained, weights
from xlearner_mm.config.options import load_config
from xlearner_mm.errors import CheckpointError, ConfigError


def cosine(end, **further):
    return dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=end, T_max=end, eta_min=1e-6) | further


WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4)
SGD = dict(type='SGD', lr=0.1, momentum=0.9)


def sgd(**changed):
    return dict(optimizer=SGD | changed)


def rates(runner):
    return runner.optim_wrapper.get_lr()['lr']


@pytest.fixture
def told(caplog):
    """Return the warnings of a training of 6 steps resumed with other settings."""

    def told(folder, before, after, steps=12):
        trained(folder, steps=6, **before)
        runner = toy_runner(folder, steps=steps, resume='auto', **after)
        runner.logger.addHandler(caplog.handler)
        runner.train()
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        return runner, [line for line in lines if 'not taken over' in line]

    return told


@pytest.mark.parametrize(
    ('before', 'after', 'named'),
    [
        (dict(param_scheduler=cosine(6)), dict(param_scheduler=cosine(12)), ['param_scheduler[0].T_max=12 (6)']),
        (
            dict(param_scheduler=[WARM_UP, cosine(6)]),
            dict(param_scheduler=[WARM_UP | dict(end=2), cosine(6)]),
            ['param_scheduler[0].end=2 (4)'],
        ),
        (
            dict(param_scheduler=dict(type='MultiStepLR', by_epoch=False, milestones=[3], end=12)),
            dict(param_scheduler=dict(type='MultiStepLR', by_epoch=False, milestones=[9], end=12)),
            ['param_scheduler[0].milestones=[9] ([3])'],
        ),
        (dict(), dict(optim_wrapper=sgd(lr=0.3)), ['optimizer.lr=0.3 (0.1)']),
        (dict(), dict(optim_wrapper=sgd(weight_decay=0.01)), ['optimizer.weight_decay=0.01 (0)']),
        (dict(), dict(optim_wrapper=sgd(momentum=0.5)), ['optimizer.momentum=0.5 (0.9)']),
        (
            dict(param_scheduler=cosine(12), optim_wrapper=sgd()),
            dict(param_scheduler=cosine(12), optim_wrapper=sgd(lr=0.3)),
            ['optimizer.lr=0.3 (0.1)'],
        ),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, betas=(0.9, 0.99)))),
            dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, betas=(0.8, 0.99), eps=1e-5))),
            ['optimizer.betas', 'optimizer.eps=1e-05 (1e-08)'],
        ),
    ],
)
def test_ignored_settings_are_logged_in_one_line(tmp_path, told, before, after, named):
    _runner, lines = told(tmp_path, before, after)
    assert len(lines) == 1
    assert 'run.json' in lines[0]
    assert '--resume-schedule config' in lines[0]
    assert all(each in lines[0] for each in named)
    unchanged = {'lr', 'momentum', 'weight_decay'} - {name.split('=')[0].split('.')[-1] for name in named}
    assert not any(f'optimizer.{name}=' in lines[0] for name in unchanged)


def test_unchanged_and_adopted_settings_are_not_logged(tmp_path, told):
    fixed = dict(param_scheduler=cosine(12))
    assert told(tmp_path / 'same', fixed, fixed)[1] == []
    taken = dict(optim_wrapper=dict(optimizer=SGD, clip_grad=dict(max_norm=0.1), accumulative_counts=1), **fixed)
    runner, lines = told(tmp_path / 'clipped', fixed, taken)
    assert lines == []
    assert runner.optim_wrapper.clip_grad_kwargs == dict(max_norm=0.1)
    assert runner.iter == 12


@pytest.mark.parametrize(
    'schedule',
    [
        [cosine(12)],
        [WARM_UP, cosine(12, begin=4, T_max=8)],
        [
            dict(type='MultiStepLR', by_epoch=False, milestones=[2, 9]),
            dict(type='CosineAnnealingMomentum', by_epoch=False, T_max=9),
        ],
        [dict(type='PolyLR', by_epoch=False, power=0.9), dict(type='ExponentialLR', by_epoch=False, gamma=0.9)],
        [],
    ],
    ids=['cosine', 'warm-up', 'steps and momentum', 'poly', 'constant'],
)
@pytest.mark.parametrize('paramwise', [None, dict(custom_keys=dict(bias=dict(lr_mult=0.1)))], ids=['', 'paramwise'])
def test_resume_schedule_config_uses_the_configs_rates(tmp_path, schedule, paramwise):
    new = dict(optim_wrapper=sgd(lr=0.3, momentum=0.8) | dict(paramwise_cfg=paramwise), param_scheduler=schedule)
    old = dict(optim_wrapper=sgd() | dict(paramwise_cfg=paramwise), param_scheduler=[cosine(6)])

    def rates_of(runner):
        seen = []
        step = runner.optim_wrapper.optimizer.step

        def noted(*args, **kwargs):
            seen.append([(g['lr'], g['momentum']) for g in runner.optim_wrapper.optimizer.param_groups])
            return step(*args, **kwargs)

        runner.optim_wrapper.optimizer.step = noted
        runner.train()
        return seen

    def built(folder, **settings):
        runner = toy_runner(folder, steps=12, **settings)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        return runner

    trained(tmp_path / 'work', steps=6, **old)
    runner = built(tmp_path / 'work', resume='auto', cfg=dict(resume_schedule='config'), **new)
    whole = rates_of(built(tmp_path / 'other', **new))
    np.testing.assert_allclose(rates_of(runner), whole[6:])
    assert runner.not_taken_over == []


NAMED = dict(constructor='PerBranchOptimWrapperConstructor', clip_grad=dict(max_norm=0.1))
GROUPED = [{}, dict(paramwise_cfg=dict(bias_lr_mult=0.1)), dict(paramwise_cfg=dict(bias_lr_mult=1.0))]


@pytest.mark.parametrize('before', GROUPED, ids=['one group', 'two groups', 'merged groups'])
@pytest.mark.parametrize('after', GROUPED, ids=['one group', 'two groups', 'merged groups'])
@pytest.mark.parametrize('optimizer', [SGD, dict(type='AdamW', lr=0.1)], ids=['SGD', 'AdamW'])
def test_optimizers_are_resumed_by_names_across_groupings(tmp_path, before, after, optimizer):
    def settings(own):
        return dict(steps=8, param_scheduler=cosine(8), optim_wrapper=dict(NAMED, optimizer=optimizer, **own))

    straight = trained(tmp_path / 'straight', **settings(before))
    trained(tmp_path / 'work', hooks=[dict(type='InterruptHook', step=3)], **settings(before))
    resumed = trained(tmp_path / 'work', resume='auto', **settings(after))
    assert weights(resumed) == weights(straight)
    assert resumed.optim_wrapper.get_lr() == straight.optim_wrapper.get_lr()
    assert bool(resumed.not_taken_over) == (before != after and GROUPED[1] in (before, after))


def test_rates_across_groupings_are_taken_from_the_config_on_request(tmp_path):
    new = dict(steps=8, param_scheduler=cosine(8), optim_wrapper=dict(NAMED, optimizer=SGD, **GROUPED[1]))
    straight = trained(tmp_path / 'straight', **new)
    hooks = [dict(type='InterruptHook', step=3)]
    trained(tmp_path / 'work', hooks=hooks, **{**new, 'optim_wrapper': dict(NAMED, optimizer=SGD)})
    resumed = trained(tmp_path / 'work', resume='auto', cfg=dict(resume_schedule='config'), **new)
    assert resumed.optim_wrapper.get_lr() == straight.optim_wrapper.get_lr()
    groups = [(group['param_names'], group['lr']) for group in resumed.optim_wrapper.optimizer.param_groups]
    assert groups == [(g['param_names'], g['lr']) for g in straight.optim_wrapper.optimizer.param_groups]
    assert all(resumed.optim_wrapper.optimizer.state[p] for p in resumed.model.student.parameters())


@pytest.mark.parametrize(('others', 'told'), [((), 'lacks parameter student.bias'), (('a', 'b'), 'unknown .*a and 1')])
def test_state_of_other_parameters_is_refused(tmp_path, others, told):
    settings = dict(optim_wrapper=dict(NAMED, optimizer=SGD))
    path = tmp_path / 'iter_3.pth'
    trained(tmp_path, steps=3, **settings)
    checkpoint = torch.load(path, weights_only=False)
    (group,) = checkpoint['optimizer']['param_groups']
    group['param_names'] = [*group['param_names'], *others] if others else group['param_names'][:1]
    group['params'] = list(range(len(group['param_names'])))
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=f'iter_3.pth.*{told}') as error:
        toy_runner(tmp_path, steps=6, resume='auto', **settings).train()
    assert '\n' not in str(error.value)


def test_schedule_settings_in_an_epoch_based_training(tmp_path):
    def schedule(end):
        return [dict(type='LinearLR', by_epoch=False, end=3), dict(type='CosineAnnealingLR', end=end, T_max=end)]

    trained(tmp_path / 'work', epochs=3, param_scheduler=schedule(3))
    new = dict(epochs=6, param_scheduler=schedule(6))
    resumed = trained(tmp_path / 'work', resume='auto', cfg=dict(resume_schedule='config'), **new)
    assert rates(resumed) == pytest.approx(rates(trained(tmp_path / 'other', **new)))


def test_resume_schedule_config_with_an_unchanged_config_is_identical(tmp_path):
    settings = dict(steps=12, param_scheduler=[WARM_UP, cosine(12)])
    straight = trained(tmp_path / 'straight', **settings)
    trained(tmp_path / 'work', hooks=[dict(type='InterruptHook', step=5)], **settings)
    resumed = trained(tmp_path / 'work', resume='auto', cfg=dict(resume_schedule='config'), **settings)
    assert weights(resumed) == weights(straight)


@pytest.mark.parametrize(
    ('before', 'after', 'named'),
    [
        (dict(param_scheduler=cosine(6)), dict(param_scheduler=[WARM_UP, cosine(12)]), 'param_scheduler'),
        (
            dict(param_scheduler=cosine(6)),
            dict(param_scheduler=dict(type='MultiStepLR', by_epoch=False, milestones=[3])),
            'MultiStepLR',
        ),
        (dict(), dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1))), 'AdamW'),
        (dict(), dict(optim_wrapper=sgd() | dict(paramwise_cfg=dict(bias_lr_mult=2.0))), 'parameter groups'),
    ],
    ids=['more schedules', 'another schedule', 'another optimizer', 'other groups'],
)
def test_states_of_other_kinds_are_refused(tmp_path, before, after, named):
    trained(tmp_path, steps=6, **before)
    with pytest.raises(CheckpointError) as error:
        toy_runner(tmp_path, steps=12, resume='auto', **after).train()
    assert named in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('after', [[WARM_UP, cosine(12)], dict(type='MultiStepLR', by_epoch=False, milestones=[3])])
def test_schedules_of_other_kinds_can_be_taken_over(tmp_path, after):
    trained(tmp_path / 'work', steps=6, param_scheduler=cosine(6))
    new = dict(steps=12, param_scheduler=after)
    resumed = trained(tmp_path / 'work', resume='auto', cfg=dict(resume_schedule='config'), **new)
    assert rates(resumed) == pytest.approx(rates(trained(tmp_path / 'other', **new)))


def test_a_schedule_by_validations_cannot_be_replaced(tmp_path):
    settings = dict(param_scheduler=dict(type='ReduceOnPlateauLR', monitor='score'), scores=range(12))
    trained(tmp_path, steps=6, **settings)
    with pytest.raises(ConfigError, match='ReduceOnPlateauLR'):
        toy_runner(tmp_path, steps=12, resume='auto', cfg=dict(resume_schedule='config'), **settings).train()


def test_an_unknown_choice_is_refused_without_resuming(tmp_path):
    with pytest.raises(ConfigError, match=r"resume_schedule='cfg'.*'checkpoint', 'config'"):
        toy_runner(tmp_path, steps=2, cfg=dict(resume_schedule='cfg')).train()


def test_the_flag_of_the_tool_is_an_option_of_the_config(tmp_path, monkeypatch):
    from tools.train import parse_args

    path = tmp_path / 'a.py'
    path.write_text('')
    monkeypatch.setattr('sys.argv', ['train.py', str(path), '--resume-schedule', 'config'])
    assert load_config(str(path), None, parse_args().cfg_options, 'none').resume_schedule == 'config'
