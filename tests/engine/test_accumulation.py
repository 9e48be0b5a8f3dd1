"""Trainings whose optimizer takes the gradients of several steps at once."""

import pytest

from xlearner_mm.engine.recovery.stop_signal import TrainingStopped
from xlearner_mm.errors import ConfigError

from ..soak.killing import in_process
from ..soak.trainings import differences, outcome, train
from . import test_two_ranks  # noqa: F401  registers FaultHook

STEPS = 6
BY_TWO = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9), accumulative_counts=2))
AVERAGING = dict(type='EMAHook', momentum=0.1)


def saving(**settings):
    logger = dict(type='LoggerHook', interval=1)
    return dict(logger=logger, checkpoint=dict(type='CheckpointHook', by_epoch=False, **settings))


def test_sigterm_between_accumulated_steps_finishes_the_update(tmp_path):
    assert in_process(lambda: train('expansion', tmp_path / 'straight', steps=STEPS, **BY_TWO))

    def work():
        told = dict(type='FaultHook', fault='is_told_to_stop', rank=0)
        with pytest.raises(TrainingStopped, match='after step 4; checkpoint .*iter_4.pth is written'):
            train('expansion', tmp_path / 'stopped', steps=STEPS, hooks=[AVERAGING, told], **BY_TWO)

    assert in_process(work)
    assert in_process(lambda: train('expansion', tmp_path / 'stopped', resume=True, steps=STEPS, **BY_TWO))
    assert differences(outcome(tmp_path / 'straight', STEPS), outcome(tmp_path / 'stopped', STEPS)) == []


@pytest.mark.parametrize('settings', [dict(interval=3), dict(interval=2, save_begin=3)])
def test_checkpoints_between_two_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match='=3 .*multiple.*optim_wrapper.accumulative_counts=2'):
        train('expansion', tmp_path / 'work', steps=STEPS, default_hooks=saving(**settings), **BY_TWO)


def test_a_last_step_between_two_updates_is_saved(tmp_path):
    train('expansion', tmp_path / 'work', steps=3, default_hooks=saving(interval=2), **BY_TWO)
    assert (tmp_path / 'work' / 'iter_3.pth').is_file()
