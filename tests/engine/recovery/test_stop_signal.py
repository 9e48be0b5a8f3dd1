"""SIGTERM is remembered by the process that listens, and ends whatever it forks."""

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from torch.utils.data import DataLoader

from tests.engine.toy_training import EightNumbers
from xlearner_mm.engine.recovery.stop_signal import (
    StopSignal,
    StopSignalHook,
    TrainingStopped,
    keep_workers,
    stop_requested,
)
from xlearner_mm.engine.runner import XLearnerRunner

PATIENCE_S = 120  # for what comes at once


@pytest.fixture(autouse=True)
def _no_earlier_listener():
    """Ends the listening of a training that an earlier test has interrupted."""
    earlier = StopSignal()
    if earlier.listen():
        earlier.stop_listening()


@pytest.fixture
def listening():
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal()
    assert stop.listen()
    yield stop
    stop.stop_listening()
    assert signal.getsignal(signal.SIGTERM) is before


def end_of_a_forked_process(told_after: float) -> int | None:
    """The signal that ended it, or None where it went on."""
    pid = os.fork()
    if not pid:
        while True:
            time.sleep(PATIENCE_S)
    time.sleep(told_after)
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.WTERMSIG(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def blocked() -> bool:
    return signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_the_signal_is_remembered(listening):
    assert not listening.came
    os.kill(os.getpid(), signal.SIGTERM)
    assert listening.came


def test_a_second_signal_ends_the_process(listening):
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize('told_after', [0, 0.001, 0.2])
def test_sigterm_ends_a_forked_process_at_any_moment(listening, told_after):
    """Also before its interpreter has come to itself: CPython drops what it finds pending then."""
    assert end_of_a_forked_process(told_after) == signal.SIGTERM
    assert not listening.came
    assert not blocked()


def test_sigterm_ends_a_process_forked_by_another_thread(listening):
    """As the workers that a multiprocessing pool replaces."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(end_of_a_forked_process, 0).result() == signal.SIGTERM
        assert not pool.submit(blocked).result()


def test_a_blocked_signal_stays_blocked(listening):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
        if not pid:
            os._exit(int(blocked()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        assert blocked()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_only_the_main_thread_handles_signals():
    heard = []
    thread = threading.Thread(target=lambda: heard.append(StopSignal().listen()))
    thread.start()
    thread.join()
    assert heard == [False]


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


def test_a_training_exits_after_the_step_of_the_signal(hook):
    hook.after_train_iter(RUNNER, 5)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped, match='SIGTERM.*step 7'):
        hook.after_train_iter(RUNNER, 6)


@pytest.mark.parametrize(
    ('last', 'said'),
    [
        (None, 'no earlier one: .*from the beginning'),
        ('epoch_1.pth', 'last.*epoch_1.pth: .*--resume'),
    ],
)
def test_an_epoch_based_training_names_its_last_checkpoint(hook, last, said):
    saving = CheckpointHook(by_epoch=True)
    saving.last_ckpt = last
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped, match=f'step 7.*no checkpoint.*{said}'):
        hook.after_train_iter(SimpleNamespace(**{**vars(RUNNER), 'hooks': [saving]}), 6)


def test_the_signal_is_noticed_while_the_main_thread_is_busy(hook):
    """As within a collective that never returns."""
    heard = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(stop_requested).result()
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # Python's handler has not run
        os.kill(os.getpid(), signal.SIGTERM)
        assert pool.submit(stop_requested).result()
    signal.signal(signal.SIGTERM, heard)


def test_pools_that_end_at_once_do_not_wait_for_their_workers(hook):
    """As mmdet's VOCMetric makes them: its workers are told to end while some of them still start."""
    for _ in range(20):
        with get_context('fork').Pool(2):
            pass
    hook.after_train_iter(RUNNER, 5)


def read_when_told(loader, tell, told):
    """In a process group of its own: start workers, read all batches when told, and end a worker."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the training's own process decides by itself
    batches = iter(loader)
    told.wait(PATIENCE_S)
    read = [batch.item() for batch in batches]
    worker = batches._workers[0]
    worker.terminate()  # as PyTorch ends workers that do not end by themselves
    worker.join(PATIENCE_S)
    tell.put((read, worker.exitcode))


def test_a_signal_to_all_processes_does_not_end_the_workers_of_a_loader():
    """As torchrun and Slurm send it; PyTorch ends the training where a worker has ended."""
    fork = get_context('fork')
    initialized, said, told = fork.Queue(), fork.Queue(), fork.Event()
    loader = keep_workers(DataLoader(range(8), num_workers=2, worker_init_fn=initialized.put, persistent_workers=True))
    process = fork.Process(target=read_when_told, args=(loader, said, told))
    process.start()
    assert sorted(initialized.get(timeout=PATIENCE_S) for _ in range(2)) == [0, 1], 'its own worker_init_fn has run'
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.2)  # for the workers to end, if they would
    told.set()
    assert said.get(timeout=PATIENCE_S) == (list(range(8)), 0)
    process.join(PATIENCE_S)


def test_loaders_of_the_runner_keep_their_workers():
    loader = XLearnerRunner.build_dataloader(
        dict(batch_size=1, num_workers=2, dataset=EightNumbers(), sampler=dict(type='DefaultSampler')), seed=0
    )
    assert loader.worker_init_fn.func is keep_workers(loader).worker_init_fn.func


def test_a_training_in_another_thread_is_warned_about_signals(caplog):
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(1) as pool:
        pool.submit(StopSignalHook().before_train, RUNNER).result()
    assert 'SIGTERM ends this training without a checkpoint' in caplog.text


def test_after_an_interrupted_training_the_next_one_restores_the_handler_of_before():
    before = signal.getsignal(signal.SIGTERM)
    StopSignal().listen()
    following = StopSignal()
    following.listen()
    following.stop_listening()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not stop_requested()
