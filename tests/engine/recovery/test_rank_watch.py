"""If one of two ranks dies, fails or hangs, both end and name it."""

import json
import os
import signal
import threading
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from tests.engine.ranks import exit_statuses
from tests.processes import is_alive, until
from xlearner_mm.engine.recovery import rank_watch
from xlearner_mm.engine.recovery.rank_watch import RankWatch
from xlearner_mm.engine.recovery.stop_signal import StopSignal

SOON = 0.5  # seconds, from the moment on at which all is as it will stay
NEVER = timedelta(hours=1)
DIED = 'error: rank 0 ends: rank 1 has died or its machine does not answer'


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(rank_watch, 'INTERVAL', SOON / 5)


def watched(rank, fault=None):
    """Run a rank: after some steps rank 1 fails, and rank 0 waits for it in a collective."""
    watch = RankWatch(own_store(), rank, 2, timeout=600).start()
    for step in range(3):
        watch.mark(f'step {step}')
        dist.barrier()
    if rank == 1 and fault is not None:
        fault(watch)
    if rank == 0 and fault is hangs:
        threading.Thread(target=lose_patience_once_all_is_stuck, args=(watch, own_store()), daemon=True).start()
    try:
        dist.all_reduce(torch.zeros(1))
    except RuntimeError:  # gloo's own, whose text names nobody
        watch.dead_after = SOON
        while True:
            watch.wait_for_culprit()
    watch.finish()
    return 0


def own_store():
    return dist.distributed_c10d._get_default_store().clone()


def dies(watch):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(watch):
    watch.fail('ZeroDivisionError: by nought')
    os._exit(3)


def hangs(watch):
    while True:
        time.sleep(600)


def lose_patience_once_all_is_stuck(watch, store):
    places = ['all_reduce', 'hangs']
    until(lambda: all(f'({place})' in beat(store, rank).get('place', '') for rank, place in enumerate(places)))
    watch.timeout = SOON


def beat(store, rank):
    return json.loads(store.get(f'beat/{rank}')) if store.check([f'beat/{rank}']) else {}


@pytest.mark.parametrize(
    ('fault', 'status', 'said'),
    [(dies, -signal.SIGKILL, DIED), (fails, 3, 'error: rank 0 ends: rank 1 has failed: ZeroDivisionError: by nought')],
)
def test_the_other_rank_exits_and_names_the_dead_one(fault, status, said, tmp_path):
    assert exit_statuses(lambda rank: watched(rank, fault), tmp_path) == [1, status]
    assert said in (tmp_path / '0.txt').read_text()


def test_a_hanging_and_a_waiting_rank_both_name_the_hanging_one(tmp_path):
    assert exit_statuses(lambda rank: watched(rank, hangs), tmp_path) == [1, 1]
    for rank in range(2):
        [line] = [line for line in (tmp_path / f'{rank}.txt').read_text().splitlines() if line.startswith('error: ')]
        assert line.startswith(f'error: rank {rank} ends: no progress for ')
        assert ': rank 1 hangs in step 2, at ' in line
        assert '(hangs); the others wait for it' in line
        assert 'rank 0 hangs' not in line


@pytest.mark.parametrize('end', ['told to stop', 'collective breaks'])
def test_a_launcher_that_kills_all_does_so_after_the_dead_rank_is_named(monkeypatch, end, tmp_path):
    """As torchrun, which tells the others by SIGTERM."""
    monkeypatch.setattr(rank_watch, 'HASTE', SOON)

    def work(rank):
        store = own_store()
        watch = RankWatch(store, rank, 2, timeout=600).start()
        store.set(f'process/{rank}', str(os.getpid()))
        if rank == 1:
            store.wait(['ready'], NEVER)
            os.kill(os.getpid(), signal.SIGKILL)
        if end == 'told to stop':
            StopSignal().listen()
            other = int(store.get('process/1'))
            threading.Thread(target=terminate_self_after, args=(other,), daemon=True).start()
        store.set('ready', '')
        if end == 'told to stop':
            store.wait(['never'], NEVER)  # as in a collective of NCCL: Python handles no signal
        with pytest.raises(RuntimeError):
            dist.all_reduce(torch.zeros(1))
        while True:
            watch.wait_for_culprit()

    assert exit_statuses(work, tmp_path) == [1, -signal.SIGKILL]
    assert DIED in (tmp_path / '0.txt').read_text()


def terminate_self_after(other):
    until(lambda: not is_alive(other))
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_rank_is_named_before_torchrun_kills_all(monkeypatch):
    monkeypatch.undo()
    assert rank_watch.HASTE + 2 * rank_watch.INTERVAL < 30


def test_working_ranks_are_not_ended(tmp_path):
    assert exit_statuses(watched, tmp_path) == [0, 0]
    assert 'error' not in (tmp_path / '0.txt').read_text() + (tmp_path / '1.txt').read_text()
