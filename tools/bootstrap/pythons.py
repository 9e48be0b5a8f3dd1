"""Which Python `.venv` is made with."""
# ruff: noqa: UP006, UP035, UP045 - Python 3.6 must be able to read this file

import json
import subprocess
from pathlib import Path
from typing import List, NamedTuple, Optional

from .errors import SetupError

OLDEST, NEWEST = (3, 10), (3, 12)
SUPPORTED = '3.10-3.12'
CANDIDATES = ('python3.11', 'python3.12', 'python3.10', 'python3')
FIX = 'install Python 3.11, then: make setup PYTHON=python3.11'
FACTS = """
import importlib.util, json, os, sys, sysconfig
include = sysconfig.get_paths()['include']
print(json.dumps(dict(
    executable=getattr(sys, '_base_executable', sys.executable),
    version=list(sys.version_info[:3]),
    include=include,
    has_headers=os.path.exists(os.path.join(include, 'Python.h')),
    has_venv=all(importlib.util.find_spec(m) for m in ('venv', 'ensurepip')))))
"""


class Python(NamedTuple):
    """What an interpreter says of itself."""

    executable: str
    version: List[int]
    include: str
    has_headers: bool
    has_venv: bool

    @property
    def supported(self) -> bool:
        """Whether the project runs on it."""
        return OLDEST <= tuple(self.version[:2]) <= NEWEST

    @property
    def minor(self) -> str:
        """Its version as in `3.11`."""
        return '.'.join(str(part) for part in self.version[:2])


def probe(executable: str) -> Optional[Python]:
    """Runs an interpreter and asks what it is; None where it does not run (a dead shim, say)."""
    try:
        output = subprocess.run(
            [executable, '-c', FACTS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        ).stdout
        return Python(**json.loads(output.decode()))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired):
        return None


def interpreter_of(venv: Path) -> str:
    """The path of a virtual environment's Python."""
    return str(venv / 'bin' / 'python')


def choose_python(requested: Optional[str], venv: Path) -> Python:
    """Returns the requested Python, else the one `.venv` has, else the first that is supported.

    Raises:
        SetupError: there is none, or the requested one is not supported.
    """
    if requested:
        return require_supported(requested)
    unsupported = []
    for candidate in (interpreter_of(venv), *CANDIDATES):
        python = probe(candidate)
        if python is not None and python.supported:
            return python
        if python is not None:
            unsupported.append(python.minor)
    found = ', '.join(unsupported) or 'none'
    raise SetupError(f'the project needs Python {SUPPORTED}; found: {found}', FIX)


def require_supported(executable: str) -> Python:
    """Returns a Python that was asked for by name, or says why it cannot be used."""
    python = probe(executable)
    if python is None:
        raise SetupError(f'{executable} does not run', FIX)
    if not python.supported:
        problem = f'{executable} is Python {python.minor}, and the project needs {SUPPORTED}'
        raise SetupError(problem, FIX)
    return python
