"""Installs everything the project needs into `.venv`: what `make setup` runs.

Works through numbered steps. A finished step leaves a stamp that says what it was made from, so a
repeated call does only what has changed, and an interrupted step runs again. Uses the standard
library only and runs on Python 3.6 as well, so that a wrong Python gets a clear line.
"""
# ruff: noqa: UP006, UP035, UP045 - Python 3.6 must be able to read this file

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, List, Optional

from bootstrap.conditions import check_clone, check_conditions
from bootstrap.errors import SetupError
from bootstrap.plan import count_jobs, first_pending, plan_steps, step_keys, write_stamp
from bootstrap.progress import duration
from bootstrap.pythons import Python, choose_python
from bootstrap.running import remove_half_installed, run_step

ROOT = Path(__file__).resolve().parent.parent


def set_up(root: Path, requested: Optional[str]) -> None:
    """Brings `.venv` of a clone to the state that requirements.txt and setup.py describe.

    Args:
        root: the clone.
        requested: the Python to use; found if None.

    Raises:
        SetupError: something is missing or has failed.
    """
    if os.name != 'posix':
        raise SetupError('this system is not supported', 'use Linux or macOS; on Windows, WSL')
    check_clone(root)
    (root / '.setup').mkdir(exist_ok=True)
    lock = take_lock(root / '.setup')
    try:
        run_pending(root, choose_python(requested, root / '.venv'), lock)
    finally:
        os.close(lock)


def take_lock(setup: Path) -> int:
    """Waits until no other set-up works on this clone, and returns the lock's descriptor."""
    import fcntl  # there is none on Windows, which has been told so before

    lock = os.open(str(setup / 'lock'), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print('waiting for another set-up of this clone to end (Ctrl-C stops waiting)', flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def run_pending(root: Path, python: Python, lock: int) -> None:
    """Runs all steps from the first one that is not done."""
    venv, setup = root / '.venv', root / '.setup'
    steps = plan_steps(root, python, count_jobs())
    keys = step_keys(steps)
    first = first_pending(venv, steps, keys)
    if first == len(steps):
        print(f'set-up is complete: .venv with Python {python.minor}', flush=True)
        return
    check_conditions(root, python, steps[first:])
    remove_half_installed(venv)
    total = duration(sum(step.seconds for step in steps[first:]))
    print(f'set-up with Python {python.minor}, about {total}; logs are in {setup}', flush=True)
    for index in range(first, len(steps)):
        step = steps[index]
        estimate = duration(step.seconds)
        print(f'[{index + 1}/{len(steps)}] {step.title}: about {estimate}', flush=True)
        run_step(step, setup, lock)
        if step.show_output:
            show_output(setup / f'{step.name}.log')
        write_stamp(venv, step.name, keys[index])
    shutil.rmtree(str(setup / 'tmp'), ignore_errors=True)


def show_output(log: Path) -> None:
    """Prints what a command has printed; the log's first line is the command itself."""
    _, *lines = log.read_text(encoding='utf-8').splitlines()
    print('\n'.join(f'      {line}' for line in lines), flush=True)


def interrupt(*_: Any) -> None:
    """Lets a signal end the set-up in good order."""
    raise KeyboardInterrupt


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the set-up; returns the exit status."""
    parser = argparse.ArgumentParser(description='Install everything into .venv.')
    parser.add_argument('--python', help='the Python to use, for example python3.11')
    options = parser.parse_args(arguments)
    for sign in (signal.SIGINT, signal.SIGTERM):  # scripts start their background jobs with SIGINT ignored
        signal.signal(sign, interrupt)
    try:
        set_up(ROOT, options.python)
    except SetupError as error:
        print(f'error: {error}\n  fix: {error.fix}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nstopped; make setup continues with the step it was in', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
