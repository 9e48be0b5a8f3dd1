"""Trainings of two ranks, one of which is killed, fails, gets SIGTERM or has other data."""

import os
import re
import signal

import pytest
from mmengine.hooks import Hook

from xlearner_mm.engine.launch import STOPPED, end_well, end_with
from xlearner_mm.engine.recovery import rank_watch
from xlearner_mm.engine.recovery.stop_signal import TrainingStopped
from xlearner_mm.registry import HOOKS

from ..soak.killing import in_process
from ..soak.trainings import differences, jittered_sources, outcome, train, train_loader, write_teacher
from .ranks import exit_statuses

STEPS = 4
DDP = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)


def fail():
    raise ZeroDivisionError('by nought')


FAULTS = dict(
    dies=lambda: os.kill(os.getpid(), signal.SIGKILL),
    fails=fail,
    is_told_to_stop=lambda: os.kill(os.getpid(), signal.SIGTERM),
)


@HOOKS.register_module()
class FaultHook(Hook):
    """A fault of one rank in step 3."""

    def __init__(self, fault, rank=1):
        self.fault, self.rank = fault, rank

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == self.rank and runner.iter == 2:
            FAULTS[self.fault]()


def two_ranks(folder, name, fault=None, loaders=(None, None), **settings):
    """Train the squeeze in two processes; return the exit status and the output of each."""
    hooks = [dict(type='EMAHook', momentum=0.1), dict(type='StopSignalHook', interval=1)]
    hooks += [] if fault is None else [dict(type='FaultHook', fault=fault)]

    def work(rank):
        own = {} if loaders[rank] is None else dict(train_dataloader=loaders[rank])
        try:
            train(
                'squeeze',
                folder / name,
                steps=STEPS,
                hooks=hooks,
                launcher='pytorch',
                cfg=dict(model_wrapper_cfg=DDP),
                env_cfg=dict(dist_cfg=dict(backend='gloo', timeout=600)),
                **own,
                **settings,
            )
        except Exception as error:
            return end_with(error)
        return end_well()

    told = folder / f'{name}_{fault}_told'
    statuses = exit_statuses(work, told)
    return statuses, [(told / f'{rank}.txt').read_text() for rank in range(2)]


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Ranks look after each other more often than in trainings that take days."""
    monkeypatch.setattr(rank_watch, 'INTERVAL', 0.1)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return the work directory of two ranks trained without faults."""
    folder = tmp_path_factory.mktemp('ranks')
    write_teacher(folder)
    statuses, told = two_ranks(folder, 'straight')
    assert statuses == [0, 0], told
    return folder


def assert_as_if_never_stopped(folder, name):
    statuses, told = two_ranks(folder, name, resume=True)
    assert statuses == [0, 0], told
    assert differences(outcome(folder / 'straight', STEPS), outcome(folder / name, STEPS)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ('fault', 'status', 'said'),
    [
        ('dies', -signal.SIGKILL, 'error: rank 0 ends: rank 1 has died or its machine does not answer'),
        ('fails', 99, 'error: rank 0 ends: rank 1 has failed: by nought'),
    ],
)
def test_the_other_rank_names_it_and_a_restart_is_identical(folder, fault, status, said, monkeypatch):
    monkeypatch.setattr(rank_watch, 'HASTE', 0.5)  # the collective breaks once the other is gone
    statuses, told = two_ranks(folder, fault, fault)
    assert statuses == [1, status], told
    assert said in told[0]
    assert_as_if_never_stopped(folder, fault)


@pytest.mark.slow
def test_sigterm_to_one_rank_saves_the_same_step_on_both(folder, monkeypatch):
    monkeypatch.setattr(rank_watch, 'HASTE', 600)  # none has died
    statuses, told = two_ranks(folder, 'stopped', 'is_told_to_stop')
    assert statuses == [STOPPED, STOPPED], told
    assert all('stopped by SIGTERM after step 3' in text for text in told)
    assert (folder / 'stopped' / 'iter_3.pth').is_file()
    assert_as_if_never_stopped(folder, 'stopped')


def test_sigterm_saves_a_checkpoint_of_the_current_step(tmp_path):
    write_teacher(tmp_path)
    hooks = [dict(type='EMAHook', momentum=0.1)]
    assert in_process(lambda: train('squeeze', tmp_path / 'straight', steps=STEPS, hooks=hooks))

    def work():
        told_to = dict(type='FaultHook', fault='is_told_to_stop', rank=0)
        with pytest.raises(TrainingStopped, match='after step 3; checkpoint .*iter_3.pth is written') as told:
            train('squeeze', tmp_path / 'stopped', steps=STEPS, hooks=[*hooks, told_to])
        assert end_with(told.value) == STOPPED

    assert in_process(work)
    assert in_process(lambda: train('squeeze', tmp_path / 'stopped', resume=True, steps=STEPS, hooks=hooks))
    assert differences(outcome(tmp_path / 'straight', STEPS), outcome(tmp_path / 'stopped', STEPS)) == []


def test_ranks_with_other_data_are_refused_at_the_start(tmp_path):
    write_teacher(tmp_path)
    fewer = jittered_sources()
    fewer['cars']['dataset']['length'] = 7
    statuses, told = two_ranks(tmp_path, 'other_data', loaders=(None, train_loader(fewer)))
    assert statuses == [1, 1], told
    for rank, text in enumerate(told):
        # Both find it; who is slower may hear of it from the other.
        assert re.search(
            rf"error: rank {rank}(: | ends: rank . has failed: )source 'cars': rank 1 holds 7 images", text
        )
        assert 'but rank 0 holds 8 images' in text
