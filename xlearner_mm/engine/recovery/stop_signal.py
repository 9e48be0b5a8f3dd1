"""SIGTERM as a request to this process, and as the end of every process that it forks."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any

_SIGNALS = {signal.SIGTERM}


class StopSignal:
    """Remember that SIGTERM came, in place of ending by it.

    A forked process ends by it, as whoever forked it expects: mmdet's VOCMetric ends the workers of its pool by this
    signal and waits for them. A handler that looks where it runs is not enough for that, because CPython forgets the
    signals that reach a process while it starts; so the signal is held back from before the fork until the new
    process has the default action (``os.register_at_fork``).
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = signal.SIG_DFL
        self._read, self._written, self._wakeup_before = -1, -1, -1
        self._reading = threading.Lock()

    def listen(self) -> bool:
        """Start; false where nothing can listen, since only the main thread of a process may set a handler."""
        global _listening
        if threading.current_thread() is not threading.main_thread():
            return False
        self._before = signal.signal(signal.SIGTERM, self._remember)
        self._read, self._written = os.pipe()
        for end in (self._read, self._written):
            os.set_blocking(end, False)
        self._wakeup_before = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
        _listening = self
        return True

    def came_by_now(self) -> bool:
        """Whether it came, also while the main thread is within a call that keeps Python from handling it."""
        with self._reading, suppress(BlockingIOError):
            if not self.came and _listening is self:
                self.came = signal.SIGTERM in os.read(self._read, 4096)
        return self.came

    def listen_no_more(self) -> None:
        """Leave the signal as it was; without effect where nothing listens."""
        global _listening
        if _listening is not self:
            return
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        with self._reading:
            _listening = None
            os.close(self._read)
            os.close(self._written)

    def _remember(self, number: int, frame: Any) -> None:
        # The next one ends the process at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.came = True


_listening: StopSignal | None = None


def told_to_stop() -> bool:
    """Whether SIGTERM came to this process while something listens; may be asked in any thread."""
    return _listening is not None and _listening.came_by_now()


_masks = threading.local()


def _hold_back() -> None:
    if _listening is not None:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _let_through() -> None:
    before = _masks.__dict__.pop('before', None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen_no_more_in_child() -> None:
    global _listening
    if _listening is not None:
        _listening = None
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
    _let_through()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_listen_no_more_in_child)
