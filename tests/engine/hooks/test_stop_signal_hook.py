"""SIGTERM stops a training after its step."""

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook

from xlearner_mm.engine.hooks.stop_signal_hook import StopSignalHook, TrainingStopped
from xlearner_mm.engine.recovery.stop_signal import told_to_stop

RUNNER = SimpleNamespace(
    world_size=1, hooks=[], iter=6, logger=logging.getLogger(__name__), optim_wrapper=SimpleNamespace()
)


@pytest.fixture
def hook():
    before = signal.getsignal(signal.SIGTERM)
    listening = StopSignalHook()
    listening.before_train(RUNNER)
    yield listening
    signal.signal(signal.SIGTERM, before)


def test_a_training_leaves_after_the_step_in_which_it_was_told(hook):
    hook.after_train_iter(RUNNER, 5)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped, match='stopped by SIGTERM after step 7'):
        hook.after_train_iter(RUNNER, 6)


@pytest.mark.parametrize(
    ('last', 'said'),
    [
        (None, 'there is none before it: the same command begins anew'),
        ('epoch_1.pth', 'the last one is epoch_1.pth: go on from it with --resume'),
    ],
)
def test_one_that_saves_by_epochs_says_whether_there_is_a_checkpoint_to_go_on_from(hook, last, said):
    saving = CheckpointHook(by_epoch=True)
    saving.last_ckpt = last
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped, match=f'step 7; no checkpoint of this step is written.*{said}$'):
        hook.after_train_iter(SimpleNamespace(**{**vars(RUNNER), 'hooks': [saving]}), 6)


def test_the_signal_is_seen_while_the_main_thread_handles_none(hook):
    """As within a collective that never returns."""
    heard = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(told_to_stop).result()
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # Python's handler has not run
        os.kill(os.getpid(), signal.SIGTERM)
        assert pool.submit(told_to_stop).result()
    signal.signal(signal.SIGTERM, heard)


def test_pools_that_end_at_once_do_not_wait_for_their_workers(hook):
    """As mmdet's VOCMetric makes them: its workers are told to end while some of them still start."""
    for _ in range(20):
        with get_context('fork').Pool(2):
            pass
    hook.after_train_iter(RUNNER, 5)


def test_a_training_in_another_thread_is_told_that_nothing_listens(caplog):
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(1) as pool:
        pool.submit(StopSignalHook().before_train, RUNNER).result()
    assert 'SIGTERM ends this training without a checkpoint' in caplog.text
