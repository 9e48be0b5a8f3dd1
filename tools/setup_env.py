"""Install everything the project needs into `.venv`: what `make setup` runs.

`.venv/setup-done` holds one digest for each finished step, so a repeated call runs only what has changed, and an
interrupted step runs again. Readable by Python 3.6, so that a wrong Python gets a clear line.
"""
# ruff: noqa: UP006, UP014, UP035, UP045, B905 - Python 3.6 must be able to read this file

import argparse
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ('3.11', '3.12', '3.10')
DROPPED_VARIABLES = ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX')
FACTS = """
import importlib.util, json, os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
print(json.dumps([getattr(sys, '_base_executable', sys.executable), '%d.%d' % sys.version_info[:2],
    os.path.exists(header),
    all(importlib.util.find_spec(module) for module in ('venv', 'ensurepip'))]))
"""


Python = NamedTuple('Python', [('executable', str), ('version', str), ('has_headers', bool), ('has_venv', bool)])


class SetupError(Exception):
    """A problem in one line, and its fix."""


class Step(NamedTuple):
    """One command of the installation; it runs again when its inputs or those of a step before it have changed."""

    name: str
    note: str
    command: List[str]
    inputs: str = ''
    gigabytes: float = 0.0  # on the disk, downloads included


def probe(executable: str) -> Optional[Python]:
    """Run an interpreter and return its facts; None if it does not run (a version manager's dead shim, say)."""
    try:
        output = subprocess.check_output([executable, '-c', FACTS], stderr=subprocess.DEVNULL, timeout=60)
        return Python(*json.loads(output.decode()))
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None


def choose_python(requested: Optional[str], venv: Path) -> Python:
    """Return the requested Python, else that of `.venv`, else the first supported one."""
    found = []
    candidates = [str(venv / 'bin/python'), *map('python{}'.format, SUPPORTED), 'python3']
    for candidate in [requested] if requested else candidates:
        python = probe(candidate)
        if python and python.version in SUPPORTED:
            return python
        found += [f'{candidate} is Python {python.version}'] if python else []
    reason = '; '.join(found) or (f'{requested} does not run' if requested else 'none')
    fix = 'install Python 3.11, then: make setup PYTHON=python3.11'
    raise SetupError(f'the project needs Python 3.10-3.12; found: {reason}', fix)


def read_groups(requirements: str) -> Dict[str, List[str]]:
    """Split requirements at their `# --- name` headings into groups of requirement lines."""
    parts = re.findall(r'^# --- (\w+)(.*?)(?=^# --- |\Z)', requirements, re.M | re.S)
    return {name: re.findall(r'^(\w[^#\n]*?) *(?:#.*)?$', lines, re.M) for name, lines in parts}


def plan_steps(root: Path, python: Python) -> List[Step]:
    """Return all steps in order: compiling mmcv needs the torch installed before it."""
    groups = read_groups((root / 'requirements.txt').read_text(encoding='utf-8'))
    interpreter = str(root / '.venv/bin/python')
    plain = [interpreter, '-m', 'pip', 'install', '--disable-pip-version-check']
    pip = [*plain, '--constraint', str(root / 'requirements.txt')]
    packaging = ''.join((root / name).read_text(encoding='utf-8') for name in ('setup.py', 'xlearner_mm/version.py'))

    def group(name: str, note: str, gigabytes: float, command: Optional[List[str]] = None) -> Step:
        return Step(name, note, command or [*pip, *groups[name]], '\n'.join(groups[name]), gigabytes)

    # One compiler a core, as far as memory allows: one process takes 2 GiB at its peak.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    jobs = max(1, min(cores, os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 31))
    install = ' '.join(map(shlex.quote, [*pip, '--no-build-isolation', *groups['mmcv']]))
    check = f"{shlex.quote(interpreter)} -c 'import torch, mmcv._ext'"
    # A wheel of pip's cache may have been made without ops, or beside another torch: then it is built again.
    again = f'{install} --no-cache-dir --force-reinstall --no-deps && {check}'
    mmcv = ['sh', '-c', f'export CFLAGS=-g0 MAX_JOBS={jobs}; {install} || exit 1; {check} || {{ {again}; }}']
    existing = probe(interpreter)
    keep = existing and existing.version == python.version and not (root / '.venv/setup-done').exists()
    venv = [python.executable, '-m', 'venv', *([] if keep else ['--clear']), str(root / '.venv')]
    return [
        Step('environment', 'seconds', venv, f'{python.version} {root}', 0.1),
        group('build', 'tools to compile with', 0.1),
        group('torch', '3 GB, about 2 minutes', 6.5),
        group('mmcv', f'about {14 // jobs} minutes to compile with {jobs} jobs, unless pip has cached it', 0.5, mmcv),
        group('rest', 'all other packages, about 2 minutes', 1.5),
        Step('project', 'xlearner_mm', [*plain, '--no-build-isolation', '--no-deps', '-e', str(root)], packaging),
        Step('doctor', 'check of the installation', [interpreter, '-m', 'xlearner_mm.doctor']),
    ]


def first_pending(venv: Path, keys: List[str]) -> int:
    """Return the index of the first step to run; the number of steps if all are done."""
    done = venv / 'setup-done'
    if not done.is_file() or probe(str(venv / 'bin/python')) is None:
        return 0
    matches = [line == key for line, key in zip(done.read_text().splitlines(), keys)]
    return [*matches, False].index(False)


def check_conditions(root: Path, python: Python, pending: List[Step]) -> None:
    """Raise a SetupError for anything missing, before anything is downloaded."""
    names, version, free = [step.name for step in pending], python.version, shutil.disk_usage(str(root)).free / 1e9
    if 'environment' in names and not python.has_venv:
        raise SetupError(f'Python {version} has no venv module', f'sudo apt install python{version}-venv')
    if 'mmcv' in names and not python.has_headers:
        fix = f'sudo apt install python{version}-dev, or: sudo dnf install python{version}-devel'
        raise SetupError(f'compiling mmcv needs Python.h, which Python {version} does not have here', fix)
    if 'mmcv' in names and not any(map(shutil.which, [*os.environ.get('CXX', 'c++').split()[:1], 'c++', 'g++'])):
        fix = 'sudo apt install g++, or: sudo dnf install gcc-c++'
        raise SetupError('compiling mmcv needs a C++ compiler; neither c++ nor g++ was found', fix)
    needed = sum(step.gigabytes for step in pending)
    if free < needed:
        problem = f'set-up needs {needed:.1f} GB of disk space, and {root} has {free:.1f} GB free'
        raise SetupError(problem, 'free some space or clone onto another disk; then make setup')


def remove_half_installed(venv: Path) -> None:
    """Remove records of packages whose installation was cut off, which pip could take for installed ones."""
    for info in venv.glob('lib/python*/site-packages/*'):
        cut_off = info.suffix == '.dist-info' and not all((info / name).is_file() for name in ('INSTALLER', 'RECORD'))
        if cut_off or info.name.startswith('~'):
            shutil.rmtree(str(info), ignore_errors=True)


def run(command: List[str], temporary: Path, lock: int) -> bool:
    """Run one command, end it with all that it started if this process is stopped, and return its success.

    The command inherits the lock: where it outlives a killed set-up, it still keeps a second one out.
    """
    # Without the variables that make pip install, or Python import, elsewhere.
    env = {key: value for key, value in os.environ.items() if key not in DROPPED_VARIABLES}
    env.update(TMPDIR=str(temporary), PYTHONNOUSERSITE='1')  # the system's temporary folder is often small
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, start_new_session=True, pass_fds=(lock,))
    try:
        return process.wait() == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def set_up(root: Path, requested: Optional[str]) -> None:
    """Bring `.venv` of a clone to the state that requirements.txt and setup.py describe."""
    for name in ('requirements.txt', 'setup.py', 'xlearner_mm/version.py'):
        if not (root / name).is_file():
            raise SetupError(f'{name} is missing in {root}', 'clone the repository again and run make setup there')
    venv, temporary, done = root / '.venv', root / '.setup/tmp', root / '.venv/setup-done'
    temporary.mkdir(parents=True, exist_ok=True)
    with open(str(root / '.setup/lock'), 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print('waiting for another set-up of this clone to end (Ctrl-C stops waiting)', flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        python = choose_python(requested, venv)
        steps = plan_steps(root, python)
        digest, keys = hashlib.sha256(), []
        for step in steps:
            digest.update(json.dumps([step.name, step.inputs]).encode())
            keys.append(digest.hexdigest())
        first = first_pending(venv, keys)
        check_conditions(root, python, steps[first:])
        remove_half_installed(venv)
        for index, step in list(enumerate(steps))[first:]:
            print(f'[{index + 1}/{len(steps)}] {step.name}: {step.note}', flush=True)
            if not run(step.command, temporary, lock.fileno()):
                raise SetupError(f'{step.name} failed, see above', 'fix that; make setup continues with this step')
            done.write_text('\n'.join(keys[: index + 1]))
        shutil.rmtree(str(temporary), ignore_errors=True)
    print(f'set-up is complete: .venv with Python {python.version}', flush=True)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the set-up and return the exit status."""
    parser = argparse.ArgumentParser(description='Install everything into .venv.')
    parser.add_argument('--python', help='the Python to use, for example python3.11')
    options = parser.parse_args(arguments)
    for sign in (signal.SIGINT, signal.SIGTERM):  # scripts start their background jobs with SIGINT ignored
        signal.signal(sign, signal.default_int_handler)
    try:
        set_up(ROOT, options.python)
    except SetupError as error:
        print('error: {}\n  fix: {}'.format(*error.args), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nstopped; make setup continues with the step it was in', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
