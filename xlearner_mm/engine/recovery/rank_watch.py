"""Ranks that watch each other: who dies, fails or hangs is named by all others, which end."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xlearner_mm.engine.recovery.stop_signal import told_to_stop
from xlearner_mm.registry import HOOKS

DEFAULT_TIMEOUT = 1800.0
"""Seconds without progress after which a rank hangs, unless ``env_cfg.dist_cfg.timeout`` says otherwise."""
INTERVAL = 5.0
"""Seconds between two signs of life, at most."""
HASTE = 10.0
"""Seconds without a sign of life after which a rank is dead where something tells that one is: torchrun, which tells
the others to stop when one has died, kills them 30 s later."""
FAILED = 1
"""Exit status of a rank that ends because another one has died, failed or hangs."""


class RankWatch:
    """A thread that says through the processes' common store that this rank lives and how far it is.

    Collectives wait for a rank that is gone: with gloo until a connection breaks, with NCCL until its timeout, and
    neither says for whom. This thread ends the process instead, with a line that names the rank.

    Args:
        store: a store that all ranks reach.
        rank: this process's.
        world_size: their number.
        timeout: seconds without any progress after which a rank hangs.
        dead_after: seconds without a sign of life after which a rank is dead, at most ``timeout``; at most 10 after a
            collective broke or SIGTERM came. Defaults to 60.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int, timeout: float, dead_after: float = 60.0) -> None:
        self.store, self.rank, self.peers = store, rank, [r for r in range(world_size) if r != rank]
        self.timeout, self.dead_after = timeout, min(dead_after, timeout)
        self.interval = min(INTERVAL, self.dead_after / 5)
        self._main = threading.get_ident()
        self._marks, self._what, self._moved = 0, 'starting', time.monotonic()
        self._beats, self._broken = 0, False
        self._seen: dict[int, tuple[Any, float]] = {peer: (None, time.monotonic()) for peer in self.peers}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='rank watch', daemon=True)

    def start(self) -> RankWatch:
        """Begin to watch."""
        self._thread.start()
        return self

    def mark(self, what: str) -> None:
        """Note progress; all ranks mark the same things in the same order."""
        self._marks, self._what, self._moved = self._marks + 1, what, time.monotonic()

    def stay_alive(self) -> None:
        """Note that something goes on, of which ranks may have different numbers."""
        self._moved = time.monotonic()

    def fail(self, reason: str) -> None:
        """Tell the others why this rank ends."""
        self._ended.set()
        self.store.set(f'failed/{self.rank}', reason)
        if self.rank == 0:
            self._let_the_others_read()

    def finish(self) -> None:
        """Say that this rank is done, and wait for the others: the store may live in this process."""
        self.store.set(f'done/{self.rank}', '1')
        while not all(self._has(f'done/{peer}') for peer in self.peers):
            time.sleep(0.02)
            self.stay_alive()
        self.store.set(f'left/{self.rank}', '1')
        self._ended.set()
        deadline = time.monotonic() + self.dead_after
        while self.rank == 0 and time.monotonic() < deadline:
            if all(self._has(f'left/{peer}') for peer in self.peers):
                break
            time.sleep(0.02)

    def wait_for_culprit(self) -> None:
        """Give this thread time to end the process, after a collective broke in the main one."""
        self._hurry()
        self._broken = True
        self._ended.wait(self.dead_after + 3 * self.interval)

    def _hurry(self) -> None:
        self.dead_after = min(self.dead_after, HASTE)

    def _run(self) -> None:
        while not self._ended.wait(self.interval):
            if told_to_stop():
                self._hurry()
            try:
                self._beat()
                culprit = self._agreed(self._dead_or_failed() or self._hanging())
            except (RuntimeError, ValueError) as error:
                culprit = f'rank 0 or its launcher, which holds the store of all ranks, is gone ({_first_line(error)})'
            if culprit is not None and not self._ended.is_set():
                self._end(culprit)

    def _agreed(self, culprit: str | None) -> str | None:
        """The culprit that was named first, by any rank: the end of that rank breaks what the others wait in."""
        if culprit is None and not self._has('culprit'):
            return None
        return self.store.compare_set('culprit', '', culprit or '').decode()

    def _beat(self) -> None:
        self._beats += 1
        self.store.set(f'beat/{self.rank}', json.dumps({'beats': self._beats, **self._report()}))

    def _dead_or_failed(self) -> str | None:
        for peer in self.peers:
            if self._has(f'failed/{peer}'):
                return f'rank {peer} has failed: {self.store.get(f"failed/{peer}").decode()}'
            if self._has(f'done/{peer}'):
                continue
            beat = json.loads(self.store.get(f'beat/{peer}')) if self._has(f'beat/{peer}') else None
            if beat != self._seen[peer][0]:
                self._seen[peer] = beat, time.monotonic()
            silent = time.monotonic() - self._seen[peer][1]
            if silent > self.dead_after:
                return f'rank {peer} has died or its machine does not answer: no sign of life for {silent:.0f} s'
        return None

    def _hanging(self) -> str | None:
        timed_out = self._moved + self.timeout
        peers = [peer for peer in self.peers if not self._has(f'done/{peer}')]
        # Where a rank was before this one lost its patience says nothing of who keeps it waiting.
        if time.monotonic() <= timed_out or any(self._seen[peer][1] <= timed_out for peer in peers):
            return None
        everyone = {self.rank: self._report(), **{peer: self._seen[peer][0] for peer in peers}}
        least = min(report['marks'] for report in everyone.values())
        late = {rank: report for rank, report in everyone.items() if report['marks'] == least}
        # Who waits in a collective is within torch; who hangs elsewhere keeps the others waiting.
        culprits = {rank: r for rank, r in late.items() if not r['place'].startswith('torch ')} or late
        told = '; '.join(f'rank {rank} hangs in {r["what"]}, at {r["place"]}' for rank, r in sorted(culprits.items()))
        waiting = '; the others wait for it' if len(culprits) == 1 else ''
        return f'no progress for {self.timeout:.0f} s: {told}{waiting}'

    def _report(self) -> dict[str, Any]:
        return {'marks': self._marks, 'what': self._what, 'place': self._place()}

    def _place(self) -> str:
        if self._broken:
            return 'torch, in a collective that broke'
        frame = sys._current_frames().get(self._main)
        if frame is None:
            return 'its end'
        where = f'{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})'
        return f'torch {where}' if f'{os.sep}torch{os.sep}' in where else where

    def _has(self, key: str) -> bool:
        return self.store.check([key])

    def _let_the_others_read(self) -> None:
        """Wait, because the store may end with this process."""
        time.sleep(2 * self.interval)

    def _end(self, culprit: str) -> None:
        print(
            f'error: rank {self.rank} ends: {culprit}; start the same command with --resume',
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        if self.rank == 0:
            self._let_the_others_read()
        # The main thread may be within a collective that never returns: nothing but the system ends it.
        os._exit(FAILED)


_current: RankWatch | None = None
_begun = 0


def watch_ranks(timeout: float) -> RankWatch | None:
    """Begin to watch the ranks of the default group; None where this process is alone.

    Args:
        timeout: seconds without any progress after which a rank hangs.
    """
    global _current, _begun
    _current = None
    if dist.is_initialized() and dist.get_world_size() > 1:
        # A connection of its own: the process group waits on its store while it forms new groups.
        store: Any = dist.distributed_c10d._get_default_store()
        own = dist.PrefixStore(f'xlearner_mm_watch_{_begun}', store.clone())
        _begun += 1
        _current = RankWatch(own, dist.get_rank(), dist.get_world_size(), timeout).start()
    return _current


def current_watch() -> RankWatch | None:
    """Return what watches the ranks of this process, if anything does."""
    return _current


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@HOOKS.register_module()
class RankWatchHook(Hook):
    """Mark every step's beginning and end in the :class:`~xlearner_mm.engine.recovery.rank_watch.RankWatch`.

    Args:
        watch: this rank's.
    """

    priority = 'VERY_HIGH'

    def __init__(self, watch: RankWatch) -> None:
        self.watch = watch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """A batch has been read."""
        self.watch.mark(f'training step {runner.iter + 1}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """A step has been made."""
        self.watch.mark(f'what follows training step {runner.iter + 1}: reading data, saving, validation')

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Ranks may validate different numbers of batches: that is no progress that could be compared."""
        self.watch.stay_alive()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The same in a test."""
        self.watch.stay_alive()
