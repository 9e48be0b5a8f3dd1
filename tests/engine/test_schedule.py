"""Rate and length follow the images of a step where `auto_scale_lr` is enabled."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import runner as mmengine_runner

from xlearner_mm.analysis.dry_run import dry_run
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import CheckpointError, ConfigError

from .tiny_runner import logged, tiny_runner

CONFIGS = Path(__file__).parents[2] / 'configs'
SGD = dict(optimizer=dict(type='SGD', lr=0.1))
WARMUP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)
COSINE = dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=1000, T_max=990, eta_min=1e-3)


def built(folder, base=64, processes=8, **settings):
    """A runner of so many processes with 8 images each, as far as it asks how many there are."""
    given = dict(
        optim_wrapper=SGD,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=100),
        param_scheduler=[WARMUP, COSINE],
        auto_scale_lr=dict(enable=True, base_batch_size=base),
        runner=XLearnerRunner,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine_runner, 'get_dist_info', lambda: (0, processes))
        patch.setattr('xlearner_mm.engine.runner.watch_ranks', lambda timeout: None)
        return tiny_runner(folder, **{**given, **settings})


def rate(runner):
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    wrappers = runner.optim_wrapper.values() if hasattr(runner.optim_wrapper, 'values') else [runner.optim_wrapper]
    return [group['lr'] for wrapper in wrappers for group in wrapper.optimizer.param_groups]


def test_twice_the_processes_have_twice_the_rate_and_half_the_steps(tmp_path):
    eight, sixteen = built(tmp_path, processes=8), built(tmp_path, processes=16)
    assert (eight.train_loop.max_iters, sixteen.train_loop.max_iters) == (1000, 500)
    assert (eight.train_loop.val_interval, sixteen.train_loop.val_interval) == (100, 50)
    assert (rate(eight), rate(sixteen)) == ([0.1], [0.2])


def test_one_process_takes_as_many_more_steps_at_as_much_lower_a_rate(tmp_path):
    one = built(tmp_path, processes=1)
    assert one.train_loop.max_iters == 8000
    assert rate(one) == [pytest.approx(0.0125)]


def test_schedules_end_with_the_training_and_a_warm_up_keeps_its_steps(tmp_path):
    assert built(tmp_path, processes=16).param_schedulers == [
        WARMUP,
        {**COSINE, 'end': 500, 'T_max': 490, 'eta_min': 2e-3},
    ]


@pytest.mark.parametrize(
    ('given', 'scaled'),
    [
        (
            dict(type='MultiStepLR', by_epoch=False, milestones=[600, 900], gamma=0.1),
            dict(type='MultiStepLR', by_epoch=False, milestones=[300, 450], gamma=0.1),
        ),
        (
            dict(type='StepLR', by_epoch=False, step_size=200, gamma=0.5),
            dict(type='StepLR', by_epoch=False, step_size=100, gamma=0.5),
        ),
        (
            dict(type='ExponentialLR', by_epoch=False, gamma=0.9),
            dict(type='ExponentialLR', by_epoch=False, gamma=pytest.approx(0.81)),
        ),
        (
            dict(type='CosineRestartLR', by_epoch=False, periods=[400, 600], restart_weights=[1, 0.5], eta_min=0),
            dict(type='CosineRestartLR', by_epoch=False, periods=[200, 300], restart_weights=[1, 0.5], eta_min=0),
        ),
        (
            dict(type='PolyLR', by_epoch=False, begin=0, end=1000, power=0.9),
            dict(type='PolyLR', by_epoch=False, begin=0, end=500, power=0.9),
        ),
        (
            dict(type='mmengine.LinearLR', by_epoch=False, start_factor=1.0, end_factor=0.0, begin=500, end=1000),
            dict(type='mmengine.LinearLR', by_epoch=False, start_factor=1.0, end_factor=0.0, begin=250, end=500),
        ),
        (dict(type='MultiStepLR', milestones=[8, 11]), dict(type='MultiStepLR', milestones=[8, 11])),
        (
            dict(type='CosineAnnealingLR', T_max=12, eta_min=0.01),
            dict(type='CosineAnnealingLR', T_max=12, eta_min=0.02),
        ),
        (
            dict(type='CosineAnnealingMomentum', by_epoch=False, T_max=1000, eta_min=0.8),
            dict(type='CosineAnnealingMomentum', by_epoch=False, T_max=500, eta_min=0.8),
        ),
    ],
    ids=lambda schedule: schedule['type'],
)
def test_every_kind_of_schedule_is_scaled(tmp_path, given, scaled):
    assert built(tmp_path, processes=16, param_scheduler=given).param_schedulers == scaled


def test_rates_and_schedules_of_every_branch_are_scaled(tmp_path):
    own = dict(SGD, constructor='PerBranchOptimWrapperConstructor', det=dict(optimizer=dict(lr=0.02)))
    schedules = dict(cls=[WARMUP, COSINE], det=[COSINE], seg=[])
    runner = built(tmp_path, processes=16, optim_wrapper=own, param_scheduler=schedules)
    assert rate(runner) == [0.2, 0.04, 0.2]
    ends = {name: [schedule['end'] for schedule in own] for name, own in runner.param_schedulers.items()}
    assert ends == dict(cls=[10, 500], det=[500], seg=[])


def test_the_logged_base_rate_is_scaled_with_those_of_single_parameters(tmp_path):
    own = dict(SGD, paramwise_cfg=dict(custom_keys={'branches.det': dict(lr_mult=0.1)}))
    runner = built(tmp_path, processes=16, optim_wrapper=own)
    assert sorted(set(rate(runner))) == pytest.approx([0.02, 0.2])
    assert runner.optim_wrapper.get_lr()['base_lr'] == [0.2]


def test_accumulated_steps_count_for_the_rate_one_by_one_for_the_length(tmp_path):
    """As many images are seen, and as many are averaged in an update, as on eight processes."""
    runner = built(tmp_path, processes=2, optim_wrapper=dict(SGD, accumulative_counts=4))
    assert runner.train_loop.max_iters == 4000
    assert rate(runner) == [0.1]


@pytest.mark.parametrize('auto_scale_lr', [None, dict(enable=False), dict(enable=False, base_batch_size=64)])
def test_disabled_it_changes_nothing(tmp_path, auto_scale_lr):
    runner = built(tmp_path, processes=16, auto_scale_lr=auto_scale_lr)
    assert runner.train_loop.max_iters == 1000
    assert runner.param_schedulers == [WARMUP, COSINE]
    assert rate(runner) == [0.1]


@pytest.mark.parametrize(
    ('auto_scale_lr', 'told'),
    [
        (dict(enable=True), 'auto_scale_lr: enable=True needs base_batch_size, got None'),
        (dict(enable=True, base_batch_size=0), 'base_batch_size, got 0'),
        (
            dict(enable=True, batch_size=8),
            "auto_scale_lr: unknown setting 'batch_size'; did you mean 'base_batch_size'",
        ),
    ],
)
def test_auto_scale_lr_without_base_batch_size_is_refused_in_one_line(tmp_path, auto_scale_lr, told):
    with pytest.raises(ConfigError, match=told) as error:
        built(tmp_path, auto_scale_lr=auto_scale_lr)
    assert len(str(error.value).splitlines()) == 1


def test_a_warm_up_longer_than_the_training_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='8 of 1000 steps.*warm-up .*10'):
        built(tmp_path, processes=1024)


def test_a_training_is_not_resumed_at_another_scale(tmp_path):
    def settings(base):
        scale = dict(enable=True, base_batch_size=base)
        return dict(max_iters=2, interval=1, runner=XLearnerRunner, optim_wrapper=SGD, auto_scale_lr=scale)

    tiny_runner(tmp_path, **settings(16)).train()
    assert (tmp_path / 'iter_4.pth').is_file()
    again = tiny_runner(tmp_path, resume=True, **settings(16))
    again.train()
    fewer = built(tmp_path, base=16, processes=2, resume=True)
    with pytest.raises(CheckpointError, match='8 images a step.*16'):
        fewer.load_checkpoint(str(tmp_path / 'iter_4.pth'))


def test_a_short_training_takes_the_scaled_steps(tmp_path):
    runner = tiny_runner(
        tmp_path,
        max_iters=2,
        interval=1,
        runner=XLearnerRunner,
        optim_wrapper=SGD,
        auto_scale_lr=dict(enable=True, base_batch_size=16),
    )
    runner.train()
    assert logged(runner)['lr'] == [pytest.approx(0.05)] * 4


STAGES = [path for stage in ('expansion', 'squeeze', 'mini', 'mini/single') for path in (CONFIGS / stage).glob('*.py')]


@pytest.mark.parametrize('path', STAGES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_every_config_records_the_images_of_all_sources_on_the_processes_that_it_is_for(path):
    cfg = Config.fromfile(path)
    sources = cfg.sources
    paper = path.parent.name in ('expansion', 'squeeze')
    images = sum(source.batch_size for source in sources.values()) * (8 if paper else 1)
    assert cfg.auto_scale_lr == dict(enable=paper, base_batch_size=images)


def test_the_dry_run_prints_scaled_rate_and_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = str(CONFIGS / 'mini' / 'xlearner_r18_expansion.py')
    options = ['auto_scale_lr.enable=True', 'optim_wrapper.det.optimizer.lr=1e-3']
    assert dry_run(config, options, world_size=9, json_file='figures.json') == 0
    figures = json.loads(Path('figures.json').read_text())
    assert (figures['steps'], figures['set_for']) == (50, 104)
    assert figures['learning_rates'] == pytest.approx(dict(cls=9 * 3e-3, det=9 * 1e-3))
    printed = capsys.readouterr().out
    assert '104 images a step' in printed
    assert '0.027' in printed
    assert dry_run(config, options, world_size=64) == 1
    assert 'auto_scale_lr leaves 7 of 450 steps' in capsys.readouterr().err
