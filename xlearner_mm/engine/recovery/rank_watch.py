"""Monitoring between ranks: when one dies, fails or hangs, all others name it and exit."""

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

from xlearner_mm.engine.recovery.stop_signal import stop_requested
from xlearner_mm.registry import HOOKS

DEFAULT_TIMEOUT = 1800.0
"""Seconds without progress after which a rank counts as hanging; ``env_cfg.dist_cfg.timeout`` overrides it."""
INTERVAL = 5.0
"""Maximum seconds between two heartbeats."""
HASTE = 10.0
"""Seconds without a heartbeat after which a rank counts as dead once another sign of a failure came: torchrun sends
SIGTERM to the others when a rank has died, and kills them 30 s later."""
FAILED = 1
"""Exit status of a rank that ends because another one has died, failed or hangs."""


class RankWatch:
    """A thread that publishes heartbeats and progress of this rank in a store, and reads those of the others.

    Collectives wait for a dead rank until a connection breaks or times out, without naming it. This thread exits the
    process instead, with a line that names the rank.

    Args:
        store: a store that all ranks reach.
        rank: of this process.
        world_size: number of ranks.
        timeout: seconds without progress after which a rank counts as hanging.
        dead_after: seconds without a heartbeat after which a rank counts as dead, at most ``timeout``; at most 10 after
            a broken collective or SIGTERM. Defaults to 60.
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
        """Start the thread."""
        self._thread.start()
        return self

    def mark(self, what: str) -> None:
        """Record progress; all ranks record the same events in the same order."""
        self._marks, self._what, self._moved = self._marks + 1, what, time.monotonic()

    def stay_alive(self) -> None:
        """Record activity whose count may differ between ranks."""
        self._moved = time.monotonic()

    def fail(self, reason: str) -> None:
        """Publish why this rank fails."""
        self._ended.set()
        self.store.set(f'failed/{self.rank}', reason)
        if self.rank == 0:
            self._let_the_others_read()

    def finish(self) -> None:
        """Publish that this rank is done, and wait for the others: this process may host the store."""
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
        """Give this thread time to exit the process after a collective broke in the main one."""
        self._hurry()
        self._broken = True
        self._ended.wait(self.dead_after + 3 * self.interval)

    def _hurry(self) -> None:
        self.dead_after = min(self.dead_after, HASTE)

    def _run(self) -> None:
        while not self._ended.wait(self.interval):
            if stop_requested():
                self._hurry()
            try:
                self._beat()
                culprit = self._agreed(self._dead_or_failed() or self._hanging())
            except (RuntimeError, ValueError) as error:
                culprit = f'rank 0 or its launcher, which holds the store of all ranks, is gone ({_first_line(error)})'
            if culprit is not None and not self._ended.is_set():
                self._end(culprit)

    def _agreed(self, culprit: str | None) -> str | None:
        """Return the culprit that any rank named first: its exit breaks the collectives of the others."""
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
        # Only reports after the timeout tell who keeps whom waiting.
        if time.monotonic() <= timed_out or any(self._seen[peer][1] <= timed_out for peer in peers):
            return None
        everyone = {self.rank: self._report(), **{peer: self._seen[peer][0] for peer in peers}}
        least = min(report['marks'] for report in everyone.values())
        late = {rank: report for rank, report in everyone.items() if report['marks'] == least}
        # Ranks that wait in a collective are within torch; a rank that hangs elsewhere is the culprit.
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
        """Wait, because the store ends with this process."""
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
        # The main thread may be in a collective that never returns.
        os._exit(FAILED)


_current: RankWatch | None = None
_started = 0


def watch_ranks(timeout: float) -> RankWatch | None:
    """Start a watch of the default group's ranks; None if this process is alone."""
    global _current, _started
    _current = None
    if dist.is_initialized() and dist.get_world_size() > 1:
        # Its own connection: the process group blocks on its store while it forms new groups.
        store: Any = dist.distributed_c10d._get_default_store()
        own = dist.PrefixStore(f'xlearner_mm_watch_{_started}', store.clone())
        _started += 1
        _current = RankWatch(own, dist.get_rank(), dist.get_world_size(), timeout).start()
    return _current


def current_watch() -> RankWatch | None:
    """Return the watch of this process, if any."""
    return _current


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@HOOKS.register_module()
class RankWatchHook(Hook):
    """Mark the start and end of every step in the :class:`~xlearner_mm.engine.recovery.rank_watch.RankWatch`.

    Args:
        watch: this rank's.
    """

    priority = 'VERY_HIGH'

    def __init__(self, watch: RankWatch) -> None:
        self.watch = watch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record a batch that was read."""
        self.watch.mark(f'training step {runner.iter + 1}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Record a completed step."""
        self.watch.mark(f'what follows training step {runner.iter + 1}: reading data, saving, validation')

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record activity: ranks may validate different numbers of batches."""
        self.watch.stay_alive()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record activity in a test."""
        self.watch.stay_alive()
