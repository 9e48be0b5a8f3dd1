"""The steps of the installation, and which of them are done."""
# ruff: noqa: UP006, UP035, UP045, B905 - Python 3.6 must be able to read this file

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from .pythons import Python, interpreter_of, probe

CORE_SECONDS_FOR_MMCV = 760  # measured: 380 s on 2 cores
BYTES_PER_JOB = 2 << 30  # what one compiler process may take at its peak


class Step(NamedTuple):
    """One part of the installation.

    A step is done when its stamp says that it was finished with the same inputs, and so were all
    steps before it. `check` finds out whether what was installed works; `repair` is tried once
    where it does not. Seconds and gigabytes (what was downloaded included) are estimates.
    """

    name: str
    title: str
    command: List[str]
    inputs: str
    seconds: int
    gigabytes: float = 0.0
    env: Dict[str, str] = {}
    check: List[str] = []
    repair: List[str] = []
    show_output: bool = False


def plan_steps(root: Path, python: Python, jobs: int) -> List[Step]:
    """Lists all steps in order; each one builds on those before it."""
    venv = root / '.venv'
    requirements = root / 'requirements.txt'
    groups = read_groups(requirements.read_text(encoding='utf-8'))
    interpreter = interpreter_of(venv)
    pip = [interpreter, '-m', 'pip', 'install', '--disable-pip-version-check']
    pinned = [*pip, '--constraint', str(requirements)]
    return [
        Step(
            'venv',
            'virtual environment',
            venv_command(venv, python),
            inputs=f'{python.minor} {root}',
            seconds=5,
            gigabytes=0.1,
        ),
        group_step('build', 'build tools', groups, pinned, seconds=10, gigabytes=0.1),
        group_step('torch', 'PyTorch, 3 GB', groups, pinned, seconds=120, gigabytes=6.5),
        mmcv_step(groups, pinned, interpreter, jobs),
        group_step('rest', 'all other packages', groups, pinned, seconds=90, gigabytes=1.5),
        Step(
            'project',
            'xlearner_mm itself',
            [*pip, '--no-build-isolation', '--no-deps', '--editable', str(root)],
            inputs=packaging_inputs(root),
            seconds=10,
        ),
        Step(
            'doctor',
            'check of the installation',
            [interpreter, '-m', 'xlearner_mm.doctor'],
            inputs='',
            seconds=20,
            show_output=True,
        ),
    ]


def group_step(
    name: str,
    title: str,
    groups: Dict[str, List[str]],
    pinned: List[str],
    seconds: int,
    gigabytes: float,
) -> Step:
    """A step that installs one group of requirements."""
    inputs = '\n'.join(groups[name])
    return Step(name, title, [*pinned, *groups[name]], inputs, seconds, gigabytes)


def mmcv_step(groups: Dict[str, List[str]], pinned: List[str], interpreter: str, jobs: int) -> Step:
    """The step that compiles mmcv beside the torch that is installed by then."""
    command = [*pinned, '--no-build-isolation', '--verbose', *groups['mmcv']]
    return Step(
        'mmcv',
        f'mmcv, compiled with {jobs} jobs unless a built one is cached',
        command,
        inputs='\n'.join(groups['mmcv']),
        seconds=CORE_SECONDS_FOR_MMCV // jobs,
        gigabytes=0.5,
        env={'CFLAGS': '-g0', 'MAX_JOBS': str(jobs)},
        check=[interpreter, '-c', 'import torch, mmcv._ext'],
        # A wheel from pip's cache can have been made without ops, or beside another torch.
        repair=[*command, '--no-cache-dir', '--force-reinstall', '--no-deps'],
    )


def read_groups(requirements: str) -> Dict[str, List[str]]:
    """Splits requirements at their `# --- name` headings into groups of requirement lines."""
    groups: Dict[str, List[str]] = {}
    group: List[str] = []
    for line in requirements.splitlines():
        heading = re.match(r'# --- (\w+)', line)
        requirement = line.split('#')[0].strip()
        if heading:
            group = groups.setdefault(heading.group(1), [])
        elif requirement:
            group.append(requirement)
    return groups


def packaging_inputs(root: Path) -> str:
    """What an editable installation is made from; the package's own code is only linked."""
    paths = (root / 'setup.py', root / 'xlearner_mm' / 'version.py')
    return '\n'.join(path.read_text(encoding='utf-8') for path in paths)


def count_jobs() -> int:
    """How many compilers may run at once: one a core, as far as memory allows."""
    has_affinity = hasattr(os, 'sched_getaffinity')
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(cores, memory // BYTES_PER_JOB))


def venv_command(venv: Path, python: Python) -> List[str]:
    """Makes `.venv`, or completes one that already has this Python; replaces any other."""
    existing = probe(interpreter_of(venv))
    # With a stamp, the step is pending because the clone has moved or the Python has changed.
    is_stale = read_stamp(venv, 'venv') is not None
    replace = is_stale or existing is None or existing.minor != python.minor
    return [python.executable, '-m', 'venv', *(['--clear'] if replace else []), str(venv)]


def step_keys(steps: List[Step]) -> List[str]:
    """A digest for each step of its inputs and of those of all steps before it."""
    digest = hashlib.sha256()
    keys = []
    for step in steps:
        digest.update(json.dumps([step.name, step.inputs]).encode())
        keys.append(digest.hexdigest())
    return keys


def first_pending(venv: Path, steps: List[Step], keys: List[str]) -> int:
    """Index of the first step to run; the number of steps if all are done."""
    if probe(interpreter_of(venv)) is None:
        return 0
    for index, (step, key) in enumerate(zip(steps, keys)):
        if read_stamp(venv, step.name) != key:
            return index
    return len(steps)


def read_stamp(venv: Path, name: str) -> Optional[str]:
    """The key a step was last finished with; stamps live in `.venv` and go with it."""
    try:
        return (venv / 'setup-stamps' / name).read_text(encoding='utf-8')
    except OSError:
        return None


def write_stamp(venv: Path, name: str, key: str) -> None:
    """Records that a step is finished, in one go, so that no half-written stamp exists."""
    stamp = venv / 'setup-stamps' / name
    stamp.parent.mkdir(exist_ok=True)
    draft = stamp.with_name(f'{name}.new')
    draft.write_text(key, encoding='utf-8')
    os.replace(str(draft), str(stamp))
