"""Runs steps so that they can be stopped at any moment and repeated."""
# ruff: noqa: UP006, UP035 - Python 3.6 must be able to read this file

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, List

from .errors import SetupError
from .plan import Step
from .progress import Progress, tail

SHOWN_LOG_LINES = 15
# What would make pip install elsewhere, or Python import from elsewhere.
DROPPED_VARIABLES = ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX')
HINTS = (
    (
        r'No space left|Disk quota',
        'free some disk space; PIP_NO_CACHE_DIR=1 keeps pip from caching',
    ),
    (r'Killed|Cannot allocate memory|out of memory', 'memory ran out: close other programs'),
    (
        r'ConnectionError|NewConnectionError|Temporary failure in name|timed out|unreachable',
        'check the network connection (and https_proxy, if you need one)',
    ),
    (r'No matching distribution', 'check which package index pip uses: pip config list'),
)


def run_step(step: Step, setup: Path, lock: int) -> None:
    """Runs a step to its end.

    Args:
        step: what to run.
        setup: the folder for logs and temporary files.
        lock: descriptor of the lock, which the commands inherit.

    Raises:
        SetupError: a command failed; the message has the end of the log.
    """
    log = setup / f'{step.name}.log'
    log.write_bytes(b'')
    env = step_environment(step, setup)

    def succeeds(command: List[str]) -> bool:
        return run_command(command, log, env, lock) == 0

    if not succeeds(step.command):
        raise failure(step, log)
    if step.check and not succeeds(step.check):
        print('      installed, but does not work: building it anew', flush=True)
        if not (succeeds(step.repair) and succeeds(step.check)):
            raise failure(step, log)


def step_environment(step: Step, setup: Path) -> Dict[str, str]:
    """The environment of a step's commands."""
    env = {key: value for key, value in os.environ.items() if key not in DROPPED_VARIABLES}
    # pip unpacks gigabytes, and the system's temporary folder is often small.
    temporary = setup / 'tmp'
    temporary.mkdir(exist_ok=True)
    env.update(step.env, TMPDIR=str(temporary), PYTHONNOUSERSITE='1')
    return env


def run_command(command: List[str], log: Path, env: Dict[str, str], lock: int) -> int:
    """Runs one command with its output in the log, and takes it down with us when we are stopped.

    A command that outlives a killed set-up still holds the lock it inherited, and so keeps a second
    set-up from writing into the same environment.
    """
    progress = Progress(log)
    with log.open('ab') as stream:
        stream.write(f'$ {" ".join(command)}\n'.encode())
        stream.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            pass_fds=(lock,),
        )
        try:
            while process.poll() is None:
                progress.update()
                time.sleep(0.2)
        except BaseException:
            stop_group(process)
            progress.finish('stopped')
            raise
    progress.finish('failed' if process.returncode else 'done')
    return process.returncode


def stop_group(process: 'subprocess.Popen[bytes]') -> None:
    """Ends a command and everything it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def failure(step: Step, log: Path) -> SetupError:
    """Turns the end of a log into an error with a hint."""
    lines = tail(log, size=20000)
    text = '\n'.join(lines)
    hints = [hint for pattern, hint in HINTS if re.search(pattern, text)]
    shown = '\n'.join(f'    {line[:200]}' for line in lines[-SHOWN_LOG_LINES:])
    return SetupError(
        f'{step.title} failed; the last lines of {log}:\n{shown}',
        '; '.join([*hints[:1], 'then repeat make setup, which continues with this step']),
    )


def remove_half_installed(venv: Path) -> None:
    """Removes the records of packages whose installation was cut off, so that pip repeats them.

    pip finishes a package by writing INSTALLER and RECORD. Before that, it can already take the
    package for installed although files are missing.
    """
    for site_packages in venv.glob('lib/python*/site-packages'):
        for info in site_packages.glob('*.dist-info'):
            if not all((info / name).is_file() for name in ('INSTALLER', 'RECORD')):
                shutil.rmtree(str(info))
        for leftover in site_packages.glob('~*'):
            shutil.rmtree(str(leftover), ignore_errors=True)
