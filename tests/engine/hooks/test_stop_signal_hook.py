"""SIGTERM stops a training after its step."""

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import pytest

from xlearner_mm.engine.hooks.stop_signal_hook import StopSignalHook, TrainingStopped

RUNNER = SimpleNamespace(world_size=1, hooks=[], iter=6, logger=logging.getLogger(__name__))


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
