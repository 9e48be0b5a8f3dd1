"""Of two ranks one dies, fails or hangs: the other ends in time and says which."""

import os
import re
import signal
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from xlearner_mm.engine import rank_watch
from xlearner_mm.engine.rank_watch import RankWatch
from xlearner_mm.engine.stop_signal import StopSignal

from .ranks import exit_statuses

SECONDS = 2.0


def watched(fault):
    """What either rank does: after some steps the fault on rank 1, for which rank 0 waits in a collective."""

    def work(rank):
        store = dist.distributed_c10d._get_default_store().clone()
        watch = RankWatch(store, rank, 2, timeout=SECONDS).start()
        for step in range(3):
            watch.mark(f'step {step}')
            dist.barrier()
        if rank == 1 and fault is not None:
            fault(watch)
        try:
            dist.all_reduce(torch.zeros(1))
        except RuntimeError:  # gloo's own, whose text names nobody
            watch.wait_for_culprit()
            return 98
        watch.finish()
        return 0

    return work


def dies(watch):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(watch):
    watch.fail('ZeroDivisionError: by nought')
    os._exit(3)


def hangs(watch):
    time.sleep(600)


@pytest.mark.parametrize(
    ('fault', 'status', 'said'),
    [
        (dies, -signal.SIGKILL, 'error: rank 0 ends: rank 1 has died or its machine does not answer'),
        (fails, 3, 'error: rank 0 ends: rank 1 has failed: ZeroDivisionError: by nought'),
        (hangs, 1, 'no progress for 2 s: rank 1 hangs in step 2, at .*test_rank_watch.py:[0-9]+ .hangs.'),
    ],
)
def test_the_other_ends_in_time_and_names_the_rank(fault, status, said, tmp_path):
    start = time.monotonic()
    assert exit_statuses(watched(fault), tmp_path, seconds=60) == [1, status]
    assert time.monotonic() - start < 20
    assert re.search(said, (tmp_path / '0.txt').read_text())


@pytest.mark.parametrize('end', ['told to stop', 'collective breaks'])
def test_of_a_launcher_that_kills_all_30_s_after_one_died_the_rank_is_named_before(monkeypatch, end, tmp_path):
    """As torchrun, which tells the others by SIGTERM."""
    monkeypatch.setattr(rank_watch, 'HASTE', SECONDS)

    def work(rank):
        store = dist.distributed_c10d._get_default_store().clone()
        watch = RankWatch(store, rank, 2, timeout=600)
        watch.interval = SECONDS / 5
        watch.start()
        store.set(f'process/{rank}', str(os.getpid()))
        other = int(store.get(f'process/{1 - rank}'))
        if rank == 1:
            time.sleep(SECONDS)
            if end == 'told to stop':
                os.kill(other, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGKILL)
        if end == 'told to stop':
            StopSignal().listen()
            store.wait(['never'], timedelta(seconds=60))  # as in a collective of NCCL: Python handles no signal
        with pytest.raises(RuntimeError):
            dist.all_reduce(torch.zeros(1))
        watch.wait_for_culprit()
        return 98

    start = time.monotonic()
    assert exit_statuses(work, tmp_path, seconds=90) == [1, -signal.SIGKILL]
    assert time.monotonic() - start < 30
    assert 'rank 1 has died or its machine does not answer' in (tmp_path / '0.txt').read_text()


def test_ranks_that_do_their_work_end_well(tmp_path):
    assert exit_statuses(watched(None), tmp_path, seconds=60) == [0, 0]
    assert 'error' not in (tmp_path / '0.txt').read_text() + (tmp_path / '1.txt').read_text()
