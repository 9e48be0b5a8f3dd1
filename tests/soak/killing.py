"""Start a training in a process of its own and kill it: at a moment, or at an operation of writing a checkpoint."""

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass

from mmengine.fileio import LocalBackend

from xlearner_mm.pipeline.progress import PROGRESS_FILE


@dataclass(frozen=True)
class Kill:
    """When a training dies: ``seconds`` after its start, or instead of finishing file operation ``operation``."""

    seconds: float | None = None
    operation: int | None = None

    def __str__(self):
        return f'after {self.seconds:.2f} s' if self.operation is None else f'in file operation {self.operation}'


HANG = 1800  # seconds after which a training hangs, however busy the machine is


def in_process(work, kill=None, errors=None):
    """Run ``work()`` in a forked process, which may be killed.

    Returns:
        Whether it ended by itself, and well.

    Raises:
        AssertionError: it failed by itself, or did not end.
    """
    # Forked, not spawned: importing the libraries again takes longer than the test.
    child = os.fork()
    if child == 0:
        _run(work, kill, errors)
    if kill is not None and kill.seconds is not None:
        time.sleep(kill.seconds)
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + HANG
    try:
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            assert time.monotonic() < deadline, f'the training did not end within {HANG} s'
            time.sleep(0.005)
    except BaseException:  # also the limit of a test, or Ctrl-C
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    status = os.waitstatus_to_exitcode(ended[1])
    if status == -signal.SIGKILL and kill is not None:
        return False
    assert status == 0, f'the training ended with status {status}: {_tail(errors)}'
    return True


def _run(work, kill, errors):
    status = 1
    try:
        output_to(errors or os.devnull)
        if kill is not None and kill.operation is not None:
            _die_in_operation(kill.operation)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def output_to(path):
    """Let this process write all it says to a file."""
    with open(path, 'ab', buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, 'w', buffering=1), os.fdopen(2, 'w', buffering=1)


def _die_in_operation(last):
    """Count what is done to files of checkpoints and die in one of them; a write dies with half of it done.

    How often the progress file is written depends on the speed of the machine: it does not count.
    """
    count = iter(range(1, last + 1))

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(function):
        def operation(*args, **kwargs):
            of_progress = any(PROGRESS_FILE in str(argument) for argument in args)
            if not of_progress and next(count, last) == last:
                die()
            return function(*args, **kwargs)

        return operation

    def half(backend, data, path):
        if next(count, last) == last:
            with open(path, 'wb') as file:
                file.write(memoryview(data)[: len(data) // 2])
            die()
        put(backend, data, path)

    put, LocalBackend.put = LocalBackend.put, half
    os.fsync, os.replace, os.remove = counted(os.fsync), counted(os.replace), counted(os.remove)


def _tail(errors):
    if errors is None or not os.path.exists(errors):
        return ''
    with open(errors, encoding='utf-8', errors='replace') as file:
        return file.read()[-3000:]
