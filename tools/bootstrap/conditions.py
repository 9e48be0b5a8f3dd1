"""What must be there before a step starts, checked before anything is downloaded."""
# ruff: noqa: UP006, UP035 - Python 3.6 must be able to read this file

import os
import shutil
from pathlib import Path
from typing import List

from .errors import SetupError
from .plan import Step
from .pythons import Python


def check_clone(root: Path) -> None:
    """Refuses to work on an incomplete copy of the repository."""
    for name in ('requirements.txt', 'setup.py', 'xlearner_mm/version.py'):
        if not (root / name).is_file():
            problem = f'{name} is missing in {root}'
            raise SetupError(problem, 'clone the repository anew and run make setup in the clone')


def check_conditions(root: Path, python: Python, pending: List[Step]) -> None:
    """Checks all that the pending steps need.

    Raises:
        SetupError: something is missing.
    """
    names = [step.name for step in pending]
    if 'venv' in names:
        check_venv_module(python)
    if 'mmcv' in names:
        check_headers(python)
        check_compiler()
    check_disk(root, pending)


def check_venv_module(python: Python) -> None:
    """Checks for the module that makes virtual environments, which Debian packages separately."""
    if not python.has_venv:
        fix = f'sudo apt install python{python.minor}-venv'
        raise SetupError(f'Python {python.minor} has no venv module', fix)


def check_headers(python: Python) -> None:
    """Checks for Python's header files, which distributions package separately."""
    if not python.has_headers:
        problem = f'compiling mmcv needs Python.h, which is not in {python.include}'
        package = f'python{python.minor}-dev'
        rpm = f'python{python.minor}-devel'
        raise SetupError(problem, f'sudo apt install {package}, or: sudo dnf install {rpm}')


def check_compiler() -> None:
    """Checks for a C++ compiler."""
    for compiler in (os.environ.get('CXX'), 'c++', 'g++'):
        if compiler and shutil.which(compiler.split()[0]):
            return
    fix = 'sudo apt install g++, or: sudo dnf install gcc-c++'
    raise SetupError('compiling mmcv needs a C++ compiler, and neither c++ nor g++ is there', fix)


def check_disk(root: Path, pending: List[Step]) -> None:
    """Checks that what is still to be installed fits on the disk."""
    needed = sum(step.gigabytes for step in pending)
    free = shutil.disk_usage(str(root)).free / 1e9
    if free < needed:
        problem = f'set-up needs {needed:.1f} GB of disk space, and {root} has {free:.1f} GB free'
        raise SetupError(problem, 'free some space or clone onto another disk; then make setup')
