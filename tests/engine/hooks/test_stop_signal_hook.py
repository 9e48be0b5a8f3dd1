"""SIGTERM stops a training after its step, and whatever the training has forked at once."""

import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest

from xlearner_mm.engine.hooks.stop_signal_hook import StopSignalHook, TrainingStopped

RUNNER = SimpleNamespace(world_size=1, hooks=[], iter=6)


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


def test_a_forked_worker_ends_by_it_as_pools_expect(hook):
    """mmdet's VOCMetric would wait for its workers forever."""
    worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))
    worker.start()
    time.sleep(0.2)
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == -signal.SIGTERM
    hook.after_train_iter(RUNNER, 5)
