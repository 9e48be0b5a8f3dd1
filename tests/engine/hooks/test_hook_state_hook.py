"""A training interrupted and resumed is as if never stopped, whatever stock hooks have counted until then."""

import importlib

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS as ROOT

from xlearner_mm.engine.hooks.hook_state_hook import STOCK_STATES, HookState
from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import HOOKS

from ..toy_training import interrupted_and_resumed, toy_runner, trained, weights

CARRIED = {
    'CheckpointHook': 'best score, best and kept checkpoints: in the message hub, saved with every checkpoint',
    'EarlyStoppingHook': 'wait_count, best_score: HookStateHook',
    'EMAHook': 'the average: ema_state_dict of the checkpoint',
    'MeanTeacherHook': 'the teacher: a part of the model',
    'ParamSchedulerHook': 'schedules: param_schedulers of the checkpoint',
    'PipelineSwitchHook': 'switched or not: derived from the epoch',
    'ProfilerHook': '_closed: HookStateHook',
    'SwAVHook': 'its queue: in its own file of each rank, queue*.pth, every epoch',
    'SwitchRecipeHook': 'switched recipes: made again in before_train',
    'YOLOXModeSwitchHook': 'switched or not: derived from the epoch',
}
"""Stock hooks that carry something from step to step, and how a resumed training has it."""
STATELESS = {
    'CheckInvalidLossHook', 'ClassNumCheckHook', 'DenseCLHook', 'DetVisualizationHook', 'DistSamplerSeedHook',
    'EmptyCacheHook', 'GroundingVisualizationHook', 'IterTimerHook', 'LoggerHook', 'MemoryProfilerHook',
    'NPUProfilerHook', 'NaiveVisualizationHook', 'NumClassCheckHook', 'PreciseBNHook', 'PrepareProtoBeforeValLoopHook',
    'PrepareTTAHook', 'RuntimeInfoHook', 'SegVisualizationHook', 'SetAdaptiveMarginsHook', 'SetEpochInfoHook',
    'SimSiamHook', 'SyncBuffersHook', 'SyncNormHook', 'TrackVisualizationHook', 'VisualizationHook',
    'TrainAugmentDetVisualizationHook', 'WarmupParamHook',
}  # fmt: skip
"""Those whose steps depend on the step, the model and the data alone; the times that some measure are no results."""


@pytest.mark.parametrize('library', ['mmengine', 'mmdet', 'mmseg', 'mmpretrain'])
def test_the_state_of_every_stock_hook_is_known(library):
    registry = ROOT
    if library != 'mmengine':
        importlib.import_module(f'{library}.engine')
        registry = importlib.import_module(f'{library}.registry').HOOKS
    found = {name for name, cls in registry.module_dict.items() if cls.__module__.split('.')[0] == library}
    assert found
    assert found - set(CARRIED) - STATELESS == set()
    assert not set(CARRIED) & STATELESS
    assert set(STOCK_STATES) == {name for name, how in CARRIED.items() if 'HookStateHook' in how}


STOPPER = dict(type='EarlyStoppingHook', monitor='score', rule='greater', min_delta=0, patience=3)
SCORES = [5, 7, 6, 7.5, 7, 7, 7, 9, 9, 9, 9, 9]
"""By the patience of 3, the seventh is the last."""


def counted(runner):
    stopper = next(hook for hook in runner.hooks if type(hook).__name__ == 'EarlyStoppingHook')
    return runner.iter, runner.epoch, stopper.wait_count, stopper.best_score, weights(runner)


@pytest.mark.parametrize(('interval', 'save_best'), [(1, None), (1, 'score'), (3, 'score')])
def test_patience_is_resumed(tmp_path, interval, save_best):
    saving = dict(interval=interval, save_best=save_best, rule=save_best and 'greater')
    settings = dict(steps=12, scores=SCORES, hooks=[STOPPER], checkpoint=saving)
    straight = counted(trained(tmp_path / 'straight', **settings))
    assert straight[0] == 7
    for step in (2, 4, 5, 7):
        assert counted(interrupted_and_resumed(tmp_path / f'{step}', step, **settings)) == straight, step


def test_patience_is_resumed_in_an_epoch_based_training(tmp_path):
    settings = dict(epochs=12, scores=SCORES, hooks=[STOPPER])
    straight = counted(trained(tmp_path / 'straight', **settings))
    assert straight[:2] == (14, 7)
    for epoch in (3, 6, 7):
        assert counted(interrupted_and_resumed(tmp_path / f'{epoch}', epoch=epoch, **settings)) == straight, epoch


@pytest.mark.parametrize('interval', [1, 4])
@pytest.mark.parametrize('changed', [{}, dict(stopping_threshold=7.2)], ids=['patience', 'threshold'])
def test_an_early_stopped_training_stays_stopped(tmp_path, interval, changed):
    settings = dict(steps=12, scores=SCORES, hooks=[STOPPER | changed], checkpoint=dict(interval=interval))
    first = trained(tmp_path, **settings)
    again = trained(tmp_path, resume='auto', **settings)
    assert counted(again) == counted(first)
    assert again.val_loop.validated == []
    assert first.iter == (4 if changed else 7)


def test_more_patience_resumes_and_is_logged(tmp_path, caplog):
    settings = dict(steps=12, scores=SCORES)
    trained(tmp_path, hooks=[STOPPER], **settings)
    further = toy_runner(tmp_path, hooks=[STOPPER | dict(patience=4)], resume='auto', **settings)
    further.logger.addHandler(caplog.handler)
    further.train()
    straight = trained(tmp_path / 'straight', hooks=[STOPPER | dict(patience=4)], **settings)
    assert counted(further) == counted(straight)
    assert further.iter == 12
    assert 'it continues' in caplog.text
    assert 'patience is 4, was 3' in caplog.text


def test_another_metric_has_its_own_count(tmp_path):
    settings = dict(steps=12, scores=SCORES)
    trained(tmp_path, hooks=[STOPPER, dict(type='InterruptHook', step=6)], **settings)
    less = STOPPER | dict(rule='less', patience=9)
    resumed = trained(tmp_path, hooks=[less, dict(type='InterruptHook', step=7)], resume='auto', **settings)
    assert counted(resumed)[3] == 7


RECIPE = dict(action_epoch=3, loss=dict(type='TripleLoss'), train_pipeline=[dict(type='AddNumber', number=2.0)])


@pytest.mark.parametrize(
    'hook',
    [
        dict(type='EMAHook', momentum=0.3),
        dict(type='EMAHook', begin_epoch=2, update_buffers=True),
        dict(type='mmpretrain.EMAHook', momentum=0.3),
        dict(type='mmdet.MeanTeacherHook', momentum=0.3),
        dict(type='mmdet.PipelineSwitchHook', switch_epoch=2, switch_pipeline=[dict(type='AddNumber', number=2.0)]),
        dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=2, skip_type_keys=None),
        dict(type='mmpretrain.SwitchRecipeHook', schedule=[RECIPE]),
        dict(type='mmpretrain.WarmupParamHook', param_name='loss_lambda', module_name='head', warmup_epochs=3),
        dict(type='mmpretrain.DenseCLHook', start_iters=5),
    ],
    ids=lambda hook: hook['type'],
)
@pytest.mark.parametrize('epoch', [1, 3])
def test_other_hooks_resume(tmp_path, hook, epoch, monkeypatch):
    from ..toy_training import EightNumbers, ToyModel

    monkeypatch.setattr(EightNumbers, 'update_skip_type_keys', lambda self, keys: None, raising=False)
    if 'Warmup' in hook['type']:
        hook = hook | dict(module_name='bbox_head', param_name='loss_weight')
        monkeypatch.setattr('tests.engine.toy_training._Head.loss_weight', 2.0, raising=False)
        forward = ToyModel.forward
        monkeypatch.setattr(
            ToyModel,
            'forward',
            lambda self, inputs, mode: {k: v * self.bbox_head.loss_weight for k, v in forward(self, inputs).items()},
        )
    settings = dict(epochs=4, hooks=[hook])
    plain = weights(trained(tmp_path / 'plain', epochs=4))
    straight = trained(tmp_path / 'straight', **settings)
    resumed = interrupted_and_resumed(tmp_path / 'resumed', epoch=epoch, **settings)
    assert weights(resumed) == weights(straight)
    average = [next((h.ema_model for h in r.hooks if hasattr(h, 'ema_model')), None) for r in (straight, resumed)]
    if average[0] is None:
        assert weights(straight) != plain
    else:
        first, second = ({k: v.tolist() for k, v in model.state_dict().items()} for model in average)
        assert first == second


def test_a_schedule_by_validations_is_resumed(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='score', rule='greater', patience=1, factor=0.5)
    settings = dict(steps=12, scores=SCORES, param_scheduler=plateau)
    straight = trained(tmp_path / 'straight', **settings)
    assert straight.optim_wrapper.get_lr()['lr'][0] < 0.1
    for step in (3, 6):
        resumed = interrupted_and_resumed(tmp_path / f'{step}', step, **settings)
        assert weights(resumed) == weights(straight)
        assert resumed.optim_wrapper.get_lr() == straight.optim_wrapper.get_lr()


def test_a_profiler_that_has_done_its_work_does_not_run_again(tmp_path):
    profiler = dict(type='ProfilerHook', by_epoch=False, profile_times=2, activity_with_cuda=False)
    resumed = interrupted_and_resumed(tmp_path, 3, steps=5, hooks=[profiler])
    hook = next(hook for hook in resumed.hooks if type(hook).__name__ == 'ProfilerHook')
    assert hook._closed
    assert not torch.autograd._profiler_enabled()


@HOOKS.register_module()
class CountingHook(Hook):
    """A custom hook that declares its state."""

    hook_state = HookState(('seen',))

    def __init__(self, kind=int):
        self.seen = [] if kind == 'list' else kind()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen = [*self.seen, runner.iter] if isinstance(self.seen, list) else self.seen


def test_a_custom_hook_declares_its_state(tmp_path):
    hooks = [dict(type='CountingHook', kind='list')] * 2
    resumed = interrupted_and_resumed(tmp_path, 3, steps=5, hooks=hooks)
    assert [hook.seen for hook in resumed.hooks if isinstance(hook, CountingHook)] == [[0, 1, 2, 3, 4]] * 2


def test_a_state_that_needs_a_pickle_is_not_saved(tmp_path):
    with pytest.raises(ConfigError, match=r'CountingHook\.seen.* object'):
        toy_runner(tmp_path, steps=2, custom_hooks=[CountingHook(object)]).train()
