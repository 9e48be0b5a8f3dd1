"""Trainings whose branches are optimized as if alone: hooks, logs, checkpoints, several processes."""

import math

import pytest
import torch
from mmengine.hooks import Hook

from xlearner_mm.engine.hooks.finite_loss_hook import FiniteLossHook, NonFiniteLossError
from xlearner_mm.engine.recovery.stop_signal import TrainingStopped
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.registry import HOOKS

from ...docs.pages import blocks
from ...soak.killing import in_process
from ...soak.trainings import differences, outcome, train
from .. import test_two_ranks  # noqa: F401  registers FaultHook
from ..ranks import WRAPPERS, run_ranks
from ..tiny_runner import logged, tiny_runner

BRANCHES = ('cls', 'det', 'seg')
SGD = dict(type='SGD', lr=0.01, momentum=0.9)
ADAMW = dict(type='AdamW', lr=1e-3)
OF_ALL = dict(constructor='PerBranchOptimWrapperConstructor', optimizer=SGD, clip_grad=dict(max_norm=0.1))
OWN = dict(OF_ALL, det=dict(optimizer=ADAMW), seg=dict(optimizer=dict(lr=0.002), clip_grad=None))
SCHEDULES = dict(
    cls=[dict(type='CosineAnnealingLR', T_max=6, by_epoch=False)],
    det=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4)],
    seg=[],
)


@HOOKS.register_module()
class NanGradientHook(Hook):
    """Makes the gradient of a branch no number in step 2."""

    priority = 'HIGHEST'

    def __init__(self, branch):
        self.branch = branch

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = {name: value.clone() for name, value in runner.model.named_parameters()}
        if runner.iter == 1:
            parameter = next(runner.model.backbone.branches[self.branch].parameters())
            self.handle = parameter.register_hook(lambda gradient: gradient * math.nan)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            self.handle.remove()


def trained(folder, optim_wrapper, hooks=(), **settings):
    runner = tiny_runner(folder, hooks, runner=XLearnerRunner, optim_wrapper=optim_wrapper, interval=1, **settings)
    runner.train()
    return runner


@pytest.mark.parametrize('optim_wrapper', [OF_ALL, dict(OF_ALL, det={})], ids=['one optimizer', 'three optimizers'])
def test_the_norm_of_every_branch_is_logged_before_and_after_clipping(tmp_path, optim_wrapper):
    runner = trained(tmp_path, optim_wrapper, [dict(type='BranchGradientHook')])
    scalars = logged(runner)
    for branch in BRANCHES:
        before, after = scalars[f'grad_norm/{branch}'], scalars[f'gradient/{branch}']
        assert len(before) == len(after) == 4
        assert all(norm > 0.1 for norm in before)
        # The branch without its heads and links.
        assert all(0 < norm <= 0.1 + 1e-6 for norm in after)
    assert not any(wrapper._optimizer_step_pre_hooks for wrapper in optimizers(runner))


def test_the_example_of_the_docs_trains(tmp_path):
    (block,) = [block for block in blocks('python') if block.page.name == 'concepts.md']
    settings = {}
    exec(block.text, settings)
    runner = trained(tmp_path, settings['optim_wrapper'], param_scheduler=settings['param_scheduler'])
    scalars = logged(runner)
    assert [scalars[f'{branch}.lr'][0] for branch in BRANCHES] == [0.1, 0.02, 6e-5]
    assert [type(optimizer).__name__ for optimizer in optimizers(runner)] == ['SGD', 'SGD', 'AdamW']


def optimizers(runner):
    wrappers = runner.optim_wrapper.values() if hasattr(runner.optim_wrapper, 'values') else [runner.optim_wrapper]
    return [wrapper.optimizer for wrapper in wrappers]


def test_rates_and_schedules_are_those_of_each_branch(tmp_path):
    runner = trained(tmp_path, OWN, param_scheduler=SCHEDULES)
    scalars = logged(runner)
    assert scalars['seg.lr'] == [0.002] * 4
    assert scalars['det.lr'] == pytest.approx([1e-4, 4e-4, 7e-4, 1e-3])
    assert scalars['cls.lr'] == pytest.approx([0.01 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(4)])
    assert [type(optimizer).__name__ for optimizer in optimizers(runner)] == ['SGD', 'AdamW', 'SGD']


@pytest.mark.parametrize(
    ('schedules', 'optim_wrapper', 'told'),
    [
        (dict(SCHEDULES, dett=[]), OWN, "'dett'; did you mean 'det'"),
        (dict(cls=[], det=[]), OWN, r"branch\(es\) \['seg'\]"),
        (SCHEDULES, OF_ALL, r"\['cls', 'det', 'seg'\].*one optimizer for all.*cls=dict\(\)"),
    ],
)
def test_schedules_that_are_not_those_of_the_optimizers_are_refused(tmp_path, schedules, optim_wrapper, told):
    with pytest.raises(ConfigError, match=told):
        trained(tmp_path, optim_wrapper, param_scheduler=schedules)


def test_interrupted_and_resumed_training_is_identical(tmp_path):
    own = dict(steps=6, optim_wrapper=dict(OWN, accumulative_counts=2), param_scheduler=SCHEDULES)
    assert in_process(lambda: train('expansion', tmp_path / 'straight', **own))

    def work():
        told = [dict(type='EMAHook', momentum=0.1), dict(type='FaultHook', fault='is_told_to_stop', rank=0)]
        with pytest.raises(TrainingStopped, match='after step 4'):
            train('expansion', tmp_path / 'stopped', hooks=told, **own)

    assert in_process(work)
    assert in_process(lambda: train('expansion', tmp_path / 'stopped', resume=True, **own))
    assert differences(outcome(tmp_path / 'straight', 6), outcome(tmp_path / 'stopped', 6)) == []


def test_resuming_with_optimizers_of_other_branches_is_refused(tmp_path):
    runner = trained(tmp_path, OWN)
    with pytest.raises(CheckpointError, match=r"optimizers of \['cls', 'det'\].*\['cls', 'det', 'seg'\]"):
        runner.optim_wrapper.load_state_dict({'cls': {}, 'det': {}})


@pytest.mark.parametrize(
    ('before', 'after', 'message'),
    [
        (dict(optimizer=SGD), OWN, r"iter_2\.pth.*one optimizer.*optimizers of \['cls', 'det', 'seg'\].*load_from"),
        (OWN, dict(optimizer=SGD), r"iter_2\.pth.*optimizers of \['cls', 'det', 'seg'\].*one optimizer.*load_from"),
    ],
    ids=['one optimizer', 'several optimizers'],
)
def test_a_checkpoint_of_another_number_of_optimizers_is_refused(tmp_path, before, after, message):
    hook = dict(type='WholeCheckpointHook', interval=2, by_epoch=False)
    trained(tmp_path, before, max_iters=2, default_hooks=dict(checkpoint=hook))
    with pytest.raises(CheckpointError, match=message) as error:
        trained(tmp_path, after, resume=True)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('optim_wrapper', [OF_ALL, OWN], ids=['one optimizer', 'three optimizers'])
def test_non_finite_gradients_name_their_branch_and_skip_the_step(tmp_path, optim_wrapper):
    watch = NanGradientHook('det')
    hooks = [watch, FiniteLossHook('stop')]
    with pytest.raises(NonFiniteLossError, match="step 2: .*gradients.*'det'.*not finite"):
        trained(tmp_path, optim_wrapper, hooks)
    runner = tiny_runner(tmp_path / 'skip', [watch, FiniteLossHook('skip')], max_iters=2, optim_wrapper=optim_wrapper)
    runner.train()
    assert all(value.equal(watch.before[name]) for name, value in runner.model.named_parameters())


def of_two_ranks(folder, optim_wrapper, model_wrapper):
    def work(rank):
        runner = trained(
            folder / str(rank),
            optim_wrapper,
            launcher='pytorch',
            cfg=dict(model_wrapper_cfg=model_wrapper),
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
        )
        return {name: value.detach() for name, value in runner.model.module.named_parameters()}

    return run_ranks(work, folder)


@pytest.mark.parametrize('optim_wrapper', [OF_ALL, OWN], ids=['one optimizer', 'three optimizers'])
@pytest.mark.parametrize('model_wrapper', WRAPPERS, ids=['by branch', 'joint'])
def test_two_processes_hold_the_same_weights(tmp_path, optim_wrapper, model_wrapper):
    accumulated = dict(optim_wrapper, accumulative_counts=2)
    one, other = of_two_ranks(tmp_path, accumulated, model_wrapper)
    assert all(value.equal(other[name]) for name, value in one.items())
    assert all(torch.isfinite(value).all() for value in one.values())
