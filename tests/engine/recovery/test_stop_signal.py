"""SIGTERM is remembered by the process that listens, and ends whatever it forks."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from xlearner_mm.engine.recovery.stop_signal import StopSignal

PATIENCE_S = 120  # for what comes at once


@pytest.fixture
def listening():
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal()
    assert stop.listen()
    yield stop
    stop.listen_no_more()
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


def test_a_second_one_would_end_the_process(listening):
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize('told_after', [0, 0.001, 0.2])
def test_a_forked_process_ends_by_it_at_any_moment(listening, told_after):
    """Also before its interpreter has come to itself: CPython drops what it finds pending then."""
    assert end_of_a_forked_process(told_after) == signal.SIGTERM
    assert not listening.came
    assert not blocked()


def test_a_process_forked_by_another_thread_ends_by_it(listening):
    """As the workers that a multiprocessing pool replaces."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(end_of_a_forked_process, 0).result() == signal.SIGTERM
        assert not pool.submit(blocked).result()


def test_whoever_holds_the_signal_back_goes_on_doing_so(listening):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        pid = os.fork()
        if not pid:
            os._exit(int(blocked()))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        assert blocked()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_only_the_main_thread_can_listen():
    heard = []
    thread = threading.Thread(target=lambda: heard.append(StopSignal().listen()))
    thread.start()
    thread.join()
    assert heard == [False]
