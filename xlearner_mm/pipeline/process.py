"""Processes of jobs."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol


def can_fork() -> bool:
    """Return whether jobs may be forks of this process.

    A fork cannot use GPUs once this process has initialized CUDA, and in a notebook it would write to the kernel.
    """
    import torch

    return sys.platform == 'linux' and not torch.cuda.is_available() and 'ipykernel' not in sys.modules


class Process(Protocol):
    """A process that leads its own process group."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""


class _Forked:
    """A fork of this process that runs a Python script without importing again what is imported here."""

    def __init__(self, script: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        fork = multiprocessing.get_context('fork')
        self._process = fork.Process(target=_run_script, args=(list(script), log, dict(env)))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


def start(command: Sequence[str], log: Path, env: Mapping[str, str], fork: bool = False) -> Process:
    """Start a command whose output is appended to a log.

    Args:
        command: program and arguments.
        log: its folder is created.
        env: environment variables to add.
        fork: run commands of the form ``[sys.executable, '<script>.py', ...]`` in a fork. Defaults to False.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('ab') as stream:
        stream.write(f'$ {" ".join(command)}\n'.encode())
        stream.flush()
        if fork and command[0] == sys.executable and command[1].endswith('.py'):
            return _Forked(command[1:], log, env)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            start_new_session=True,
        )


def stop(processes: Sequence[Process], patience: float = 5.0) -> None:
    """End process groups by SIGTERM, and after ``patience`` seconds by SIGKILL. Defaults to 5."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                try:
                    os.killpg(process.pid, sign)
                except ProcessLookupError:  # a fork so young that it does not lead its group yet
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, sign)
        end = time.monotonic() + patience
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(0.02)


def tail(log: Path, lines: int = 15, size: int = 20_000) -> list[str]:
    """Return the last lines of a log, without empty ones, or those from its error on; none of a missing file.

    Args:
        log: the file.
        lines: most lines. Defaults to 15.
        size: bytes to read from its end. Defaults to 20,000.
    """
    if not log.is_file():
        return []
    with log.open('rb') as stream:
        stream.seek(max(0, log.stat().st_size - size))
        text = stream.read().decode('utf-8', 'replace')
    last = [line for line in text.replace('\r', '\n').split('\n') if line.strip()][-lines:]
    errors = [number for number, line in enumerate(last) if line.startswith('error: ')]
    return last[errors[-1] :] if errors else last


def _run_script(script: list[str], log: Path, env: dict[str, str]) -> None:
    """Run in the fork what ``python SCRIPT ARGS`` would."""
    os.setsid()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)
    with log.open('ab') as stream, open(os.devnull, 'rb') as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # This process may have replaced them.
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    os.environ.update(env)
    if 'torch' in sys.modules and 'OMP_NUM_THREADS' in env:  # which torch reads when it is imported
        sys.modules['torch'].set_num_threads(int(env['OMP_NUM_THREADS']))
    sys.argv = script
    sys.path.insert(0, str(Path(script[0]).resolve().parent))
    runpy.run_path(script[0], run_name='__main__')
