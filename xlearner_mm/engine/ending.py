"""How a run ends: with which line, and which exit status."""

from __future__ import annotations

import errno
import os
import re
import sys

from xlearner_mm.engine.hooks.finite_loss_hook import NonFiniteLossError
from xlearner_mm.engine.recovery.rank_watch import current_watch
from xlearner_mm.engine.recovery.stop_signal import TrainingStopped
from xlearner_mm.errors import USER_ERRORS, print_error

STOPPED = os.EX_TEMPFAIL
"""Exit status of a training that was told to stop and can be resumed: 75, "try again later"."""
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BROKEN_COLLECTIVE = ('gloo', 'NCCL', 'Connection', 'ProcessGroup')


def end_well() -> int:
    """End a run that has done its work; of several ranks, together."""
    watch = current_watch()
    if watch is not None:
        watch.finish()
    return 0


def end_with(error: Exception) -> int:
    """End a run in one line, and tell the other ranks.

    Args:
        error: what ended it.

    Returns:
        The exit status: 1, or 75 after a signal to stop.

    Raises:
        Exception: ``error`` itself, where it is no bad input but a fault that needs its traceback.
    """
    watch = current_watch()
    if isinstance(error, TrainingStopped):
        print(error, file=sys.stderr)
        end_well()
        return STOPPED
    if watch is not None:
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _BROKEN_COLLECTIVE):
            # Another rank's fault: the watch ends this process with its name.
            watch.wait_for_culprit()
        watch.fail(_line(error))
    if not isinstance(error, (*USER_ERRORS, NonFiniteLossError)) and getattr(error, 'errno', None) not in _FULL_DISK:
        raise error
    of_rank = '' if watch is None else f'rank {watch.rank}: '
    return print_error(_line(error), of_rank)


def _line(error: Exception) -> str:
    """The message in one line; a loader's worker sends its whole traceback along."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r'^[\w.]+Error: ', '', lines[-1]) if 'in DataLoader worker' in lines[0] else lines[0]
