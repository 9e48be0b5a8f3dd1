"""An optimizer step has the images of its recipe, on any number of processes and of whatever batches."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from xlearner_mm.engine import XLearnerRunner
from xlearner_mm.engine.schedule import keep_recipe, plan_step, processes_of
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import DATASETS, MODELS

IMAGES = 10


@DATASETS.register_module()
class Pairs(torch.utils.data.Dataset):
    """Numbers and what a linear model is to make of them."""

    metainfo: dict = {}

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(IMAGES, 3, generator=generator), torch.randn(IMAGES, 1, generator=generator)

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        return dict(inputs=self.x[index], data_samples=self.y[index])


@MODELS.register_module()
class LinearModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        nn.init.constant_(self.layer.weight, 0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, inputs, data_samples, mode='loss'):
        return dict(loss=(self.layer(torch.stack(inputs)) - torch.stack(data_samples)).square().mean())


def training(work_dir, batch_size, **settings):
    by_epoch = settings.pop('by_epoch', False)
    loop = dict(type='EpochBasedTrainLoop', max_epochs=3) if by_epoch else dict(type='IterBasedTrainLoop', max_iters=6)
    sampler = 'DefaultSampler' if by_epoch else 'InfiniteSampler'
    return Config(
        dict(
            model=dict(type='LinearModel'),
            work_dir=str(work_dir),
            train_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                dataset=dict(type='Pairs'),
                sampler=dict(type=sampler, shuffle=True),
                collate_fn=dict(type='pseudo_collate'),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9), clip_grad=dict(max_norm=0.5)),
            train_cfg=loop,
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=1)),
            images_per_step=4,
            log_level='WARNING',
            randomness=dict(seed=0),
            **settings,
        )
    )


def trained(cfg):
    runner = XLearnerRunner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize(
    ('images', 'batch_size', 'processes', 'taken'),
    [
        (16, 4, 1, (4, 4)),
        (16, 4, 4, (4, 1)),
        (16, 4, 8, (2, 1)),
        (16, 2, 1, (2, 8)),
        (32, 8, 2, (8, 2)),
        (64, 64, 8, (8, 1)),
        (16, 16, 1, (16, 1)),
        (16, 5, 1, (4, 4)),  # what comes to 16 before what is largest
    ],
)
def test_a_step_has_the_recipe_s_images(images, batch_size, processes, taken):
    plan = plan_step(images, batch_size, processes)
    assert (plan.batch_size, plan.batches) == taken
    assert plan.images == images


@pytest.mark.parametrize(
    ('images', 'batch_size', 'processes', 'taken'),
    [(16, 4, 3, (3, 2)), (32, 8, 3, (5, 2)), (16, 2, 12, (1, 1)), (16, 4, 5, (3, 1))],
)
def test_indivisible_steps_have_nearly_as_many_images(images, batch_size, processes, taken):
    plan = plan_step(images, batch_size, processes)
    assert (plan.batch_size, plan.batches) == taken
    assert abs(plan.images - images) <= max(4, processes // 2)
    assert 'scaled in proportion' in plan.describe()


def test_more_processes_than_images_are_refused():
    with pytest.raises(ConfigError, match='images_per_step=16: 17 processes .* start at most 16'):
        plan_step(16, 2, 17)


def written(**settings):
    cfg = training('w', 2, **settings)
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, begin=0, end=100),
        dict(type='PolyLR', by_epoch=False, begin=100, end=600, eta_min=1e-3),
        dict(type='MultiStepLR', by_epoch=True, milestones=[2]),
        dict(type='MultiStepLR', by_epoch=False, milestones=[200, 300]),
    ]
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=50, dynamic_intervals=[(0, 50)])
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=25)
    cfg.custom_hooks = [dict(type='EMAHook', begin_iter=10)]
    return cfg


def test_intervals_in_steps_are_converted_to_iterations():
    cfg = written()
    keep_recipe(cfg, 1)
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.accumulative_counts) == (2, 2)
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (1200, 100)
    assert list(map(list, cfg.train_cfg.dynamic_intervals)) == [[0, 100]]
    first, second, epochs, steps = cfg.param_scheduler
    assert (first.begin, first.end, second.begin, second.end) == (0, 200, 200, 1200)
    assert (epochs.milestones, steps.milestones) == ([2], [400, 600])
    assert cfg.default_hooks.checkpoint.interval == 50
    assert (cfg.custom_hooks[0].interval, cfg.custom_hooks[0].begin_iter) == (2, 20)
    assert (cfg.optim_wrapper.optimizer.lr, second.eta_min) == (0.1, 1e-3)


def test_the_recipes_number_of_gpus_changes_only_the_record():
    cfg = written()
    keep_recipe(cfg, 2)
    before, after = written().to_dict(), cfg.to_dict()
    assert before.pop('images_per_step') == 4
    assert after.pop('images_per_step') == dict(images=4, processes=2)
    assert after == before


def test_rate_and_length_scale_with_the_images_of_a_step():
    cfg = written()
    plan = keep_recipe(cfg, 3)
    assert plan.images == 3
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.1 * 3 / 4)
    assert cfg.param_scheduler[1].eta_min == pytest.approx(1e-3 * 3 / 4)
    assert cfg.train_cfg.max_iters == 800


def test_epochs_stay_epochs():
    cfg = training('w', 2, by_epoch=True)
    keep_recipe(cfg, 1)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.default_hooks.checkpoint.interval == 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(images_per_step=0), 'images_per_step must be a whole number of at least 1, or None, got 0'),
        (dict(images_per_step='16'), "got '16'"),
        (dict(auto_scale_lr=dict(enable=True, base_batch_size=16)), 'auto_scale_lr.*images_per_step=4'),
        ({'optim_wrapper.accumulative_counts': 3}, 'accumulative_counts=3 beside images_per_step=4'),
        (dict(images_per_step=dict(images=4, processes=8)), r'written by a training on 8 process\(es\).*there are 1'),
    ],
)
def test_contradicting_settings_are_refused(change, message):
    cfg = training('w', 2)
    for key, value in change.items():
        holder, _, setting = key.rpartition('.')
        (cfg[holder] if holder else cfg)[setting] = value
    with pytest.raises(ConfigError, match=message):
        keep_recipe(cfg, 1)


def test_images_per_step_of_none_changes_nothing():
    cfg = training('w', 2)
    cfg.images_per_step = None
    before = copy.deepcopy(cfg.to_dict())
    assert keep_recipe(cfg, 1) is None
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    ('launcher', 'variable'), [('pytorch', 'WORLD_SIZE'), ('slurm', 'SLURM_NTASKS'), ('mpi', 'OMPI_COMM_WORLD_SIZE')]
)
def test_the_number_of_processes_comes_from_the_launcher(monkeypatch, launcher, variable):
    monkeypatch.setenv(variable, '6')
    assert processes_of(Config(dict(launcher=launcher))) == 6
    assert processes_of(Config(dict(launcher='none'))) == 1


@pytest.mark.parametrize('by_epoch', [False, True], ids=['iterations', 'epochs'])
def test_small_batches_end_with_the_weights_of_large_ones(tmp_path, by_epoch):
    """Epochs of 10 images are of 4, 4 and 2, and so they are of five batches of 2; or of 4, 4, 2 of one each."""
    large = trained(training(tmp_path / 'large', 4, by_epoch=by_epoch))
    for batch_size in (2, 1):
        small = trained(training(tmp_path / str(batch_size), batch_size, by_epoch=by_epoch))
        assert small.iter > large.iter
        for name, value in large.model.state_dict().items():
            assert torch.allclose(small.model.state_dict()[name], value, atol=1e-6), name


def test_an_interrupted_training_resumes_its_count(tmp_path):
    first = training(tmp_path, 2)
    first.train_cfg.max_iters = 2
    trained(first)
    resumed = training(tmp_path, 2)
    resumed.resume = True
    straight = trained(training(tmp_path / 'straight', 2))
    assert torch.allclose(trained(resumed).model.layer.weight, straight.model.layer.weight, atol=1e-6)
    other = training(tmp_path, 1)
    other.resume = True
    with pytest.raises(CheckpointError, match='accumulative_counts=2, here it is 4: resume'):
        trained(other)
