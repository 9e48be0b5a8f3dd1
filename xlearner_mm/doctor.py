"""Says what is wrong with an installation, and the fix: `python -m xlearner_mm.doctor`.

Each check runs in another process, because importing a broken extension can end a process. All
checks share one such process as long as they pass; the one that fails ends it, so that what it left
half imported cannot fail the next.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import queue
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Literal

PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 12)
# The versions of requirements.txt that fixes name (a wheel has no requirements.txt beside it).
PINS = {
    'numpy': '2.2.6',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmengine': '0.10.12',
    'onedl-mmpretrain': '1.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'opencv-python-headless': '4.12.0.88',
    'setuptools': '81.0.0',
    'torch': '2.11.0',
    'torchvision': '0.26.0',
    'transformers': '4.57.6',
}
PIP = f'{shlex.quote(sys.executable)} -m pip'
SECONDS_PER_CHECK = 120
PROBE_ARGUMENT = '--probe'


class BrokenError(Exception):
    """A check's reason to fail."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Args:
        name: what is checked.
        probe: returns what to say when all is well; raises when not.
        fix: a command or sentence that mends it.
        required: whether the package needs it. A check that is not required never fails the report.
    """

    name: str
    probe: Callable[[], str]
    fix: str
    required: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a check went."""

    name: str
    passed: bool
    detail: str


# --- probes: each runs in the other process ------------------------------------------------------


def probe_python() -> str:
    """Checks the Python version."""
    if not PYTHON_OLDEST <= sys.version_info[:2] <= PYTHON_NEWEST:
        raise BrokenError(f'{platform.python_version()}, but 3.10-3.12 is needed')
    return f'{platform.python_version()} ({sys.executable})'


def probe_torch() -> str:
    """Checks that torch computes."""
    torch = require('torch', '2.0')
    torch.ones(2, 2).matmul(torch.ones(2, 2))
    return str(torch.__version__)


def probe_torchvision() -> str:
    """Checks that torchvision's operators load, which they do with the torch they are made for."""
    torch = importlib.import_module('torch')
    torchvision = require('torchvision', '0.15')
    ops = importlib.import_module('torchvision.ops')
    ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    return f'{torchvision.__version__}, operators match torch {torch.__version__}'


def probe_numpy() -> str:
    """Checks NumPy."""
    return str(require('numpy', '1.22').__version__)


def probe_opencv() -> str:
    """Checks that OpenCV loads, which it does not where its libraries are missing."""
    return str(require('cv2', '4.5').__version__)


def probe_transformers() -> str:
    """Checks that transformers, if there, is one mmpretrain can be imported beside."""
    try:
        version = metadata.version('transformers')
    except metadata.PackageNotFoundError:
        return 'not installed, not needed'
    if parse(version) >= (5,):
        raise BrokenError(f'{version}: `import mmpretrain.models` fails beside transformers 5')
    return version


def probe_mmengine() -> str:
    """Checks MMEngine."""
    return describe('mmengine', '0.10')


def probe_mmcv() -> str:
    """Checks that mmcv's compiled operators are there and work."""
    line = describe('mmcv', '2.0')
    try:
        importlib.import_module('mmcv._ext')
    except ModuleNotFoundError:
        raise BrokenError('installed without its compiled ops (mmcv._ext)') from None
    torch = importlib.import_module('torch')
    ops = importlib.import_module('mmcv.ops')
    ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    return f'{line}, ops work'


def probe_mmdet() -> str:
    """Checks that mmdet's models import."""
    return describe('mmdet', '3.0', 'mmdet.models')


def probe_mmpretrain() -> str:
    """Checks that mmpretrain's models import."""
    return describe('mmpretrain', '1.0', 'mmpretrain.models')


def probe_mmseg() -> str:
    """Checks that mmseg's models import."""
    return describe('mmseg', '1.0', 'mmseg.models')


def probe_xlearner() -> str:
    """Checks that importing the package registers its modules."""
    package = importlib.import_module('xlearner_mm')
    registry = importlib.import_module('mmengine.registry')
    if registry.MODELS.get('XLearnerResNet') is None:
        raise BrokenError(f'{package.__path__[0]} does not register XLearnerResNet')
    version = importlib.import_module('xlearner_mm.version').__version__
    return f'{version}, registered from {package.__path__[0]}'


def probe_gpu() -> str:
    """Says which GPU there is, and whether mmcv's operators run on it."""
    if importlib.util.find_spec('torch') is None:
        return 'not looked for without torch'
    torch = importlib.import_module('torch')
    if not torch.cuda.is_available():
        return 'none: training runs on the CPU'
    name = torch.cuda.get_device_name(0)
    ops = importlib.import_module('mmcv.ops')
    try:
        ops.nms(torch.rand(1, 4).cuda(), torch.ones(1).cuda(), 0.5)
    except RuntimeError:
        raise BrokenError(f"{name}, but mmcv's ops were compiled for the CPU only") from None
    return f'{torch.cuda.device_count()} x {name}'


# --- what probes share ---------------------------------------------------------------------------


def require(module: str, oldest: str) -> ModuleType:
    """Imports a module and checks its version."""
    imported = importlib.import_module(module)
    if parse(imported.__version__) < parse(oldest):
        raise BrokenError(f'{imported.__version__}, but {oldest} or newer is needed')
    return imported


def describe(module: str, oldest: str, *submodules: str) -> str:
    """Checks one of OpenMMLab's packages: version, one distribution only, submodules import."""
    # A set: an editable installation can be listed twice.
    owners = sorted(set(metadata.packages_distributions().get(module, [])))
    if len(owners) > 1:
        raise BrokenError(f'installed twice, one over the other: {" and ".join(owners)}')
    version = require(module, oldest).__version__
    for submodule in submodules:
        importlib.import_module(submodule)
    return f'{version} ({owners[0]})' if owners else str(version)


def parse(version: str) -> tuple[int, ...]:
    """Reads the numbers a version starts with, as far as comparing needs them."""
    release = re.match(r'\d+(\.\d+)*', version)
    return tuple(int(part) for part in release.group().split('.')) if release else ()


def pinned(*distributions: str) -> str:
    """Writes distributions as pip takes them, with the versions known to work."""
    return ' '.join(f'{name}=={PINS[name]}' for name in distributions)


def openmmlab_fix(original: str, continuation: str) -> str:
    """The command that replaces whatever is installed by the version known to work."""
    return f'{PIP} uninstall -y {original} {continuation}; {PIP} install --no-build-isolation {pinned(continuation)}'


MMCV_FIX = (
    f'{PIP} uninstall -y mmcv mmcv-lite onedl-mmcv; '
    f'{PIP} install {pinned("setuptools")} wheel ninja psutil packaging; '
    f'CFLAGS=-g0 {PIP} install --no-build-isolation --no-cache-dir {pinned("onedl-mmcv")}'
)

CHECKS = (
    Check('Python', probe_python, 'make setup PYTHON=python3.11, or a new environment with it'),
    Check('torch', probe_torch, f'{PIP} install {pinned("torch", "torchvision")}'),
    Check('torchvision', probe_torchvision, f'{PIP} install {pinned("torch", "torchvision")}'),
    Check('NumPy', probe_numpy, f'{PIP} install {pinned("numpy")}'),
    Check(
        'OpenCV',
        probe_opencv,
        f'{PIP} uninstall -y opencv-python opencv-python-headless; {PIP} install {pinned("opencv-python-headless")}',
    ),
    Check('transformers', probe_transformers, f'{PIP} install {pinned("transformers")}'),
    Check('mmengine', probe_mmengine, openmmlab_fix('mmengine', 'onedl-mmengine')),
    Check('mmcv', probe_mmcv, MMCV_FIX),
    Check('mmdet', probe_mmdet, openmmlab_fix('mmdet', 'onedl-mmdetection')),
    Check('mmpretrain', probe_mmpretrain, openmmlab_fix('mmpretrain', 'onedl-mmpretrain')),
    Check('mmseg', probe_mmseg, openmmlab_fix('mmsegmentation', 'onedl-mmsegmentation')),
    Check(
        'xlearner_mm',
        probe_xlearner,
        f'in the clone: {PIP} install --no-build-isolation --no-deps -e .',
    ),
    Check(
        'GPU',
        probe_gpu,
        f"install the CUDA toolkit of torch's CUDA version, then: {MMCV_FIX}",
        required=False,
    ),
)


# --- the other process ---------------------------------------------------------------------------


def serve_probes(names: Sequence[str]) -> None:
    """Runs the named checks, printing one JSON line each, up to the first that fails."""
    # Python puts the script's folder first, where our `datasets` would hide another of that name.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or '.').resolve() != here]
    checks = {check.name: check for check in CHECKS}
    for name in names:
        outcome = run_probe(checks[name])
        print(json.dumps([outcome.name, outcome.passed, outcome.detail]), flush=True)
        if not outcome.passed:
            return


def run_probe(check: Check) -> Outcome:
    """Runs one check in this process."""
    try:
        return Outcome(check.name, True, check.probe())
    except BrokenError as error:
        return Outcome(check.name, False, str(error))
    except ModuleNotFoundError as error:
        return Outcome(check.name, False, f'module {error.name} is not installed')
    except BaseException as error:  # whatever an import raises, SystemExit too, is this check's
        reason = ' '.join(str(error).split()) or 'no message'
        return Outcome(check.name, False, f'{type(error).__name__}: {reason}')


# --- this process --------------------------------------------------------------------------------


def diagnose(checks: Sequence[Check], seconds: float = SECONDS_PER_CHECK) -> Iterator[Outcome]:
    """Runs checks in other processes and yields their outcomes in order."""
    remaining = [check.name for check in checks]
    while remaining:
        command = [sys.executable, str(Path(__file__).resolve()), PROBE_ARGUMENT, *remaining]
        for outcome in read_outcomes(command, remaining, seconds):
            yield outcome
            remaining.remove(outcome.name)


def read_outcomes(command: Sequence[str], names: Sequence[str], seconds: float) -> Iterator[Outcome]:
    """Reads outcomes of one process until it has failed, ended or said nothing for too long."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=forward_lines, args=(process, lines), daemon=True).start()
    try:
        for name in names:
            outcome = next_outcome(process, lines, name, seconds)
            yield outcome
            if not outcome.passed:
                return
    finally:
        process.kill()
        process.wait()


def forward_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Hands on what a process prints, then None."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def next_outcome(
    process: subprocess.Popen[str],
    lines: queue.Queue[str | None],
    name: str,
    seconds: float,
) -> Outcome:
    """Waits for the next check's outcome; a process that ends or hangs is that check's failure."""
    while True:
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            return Outcome(name, False, f'no answer within {seconds:.0f} s')
        if line is None:
            return Outcome(name, False, f'the import ended Python (exit status {process.wait()})')
        # Packages print while they are imported; only our own lines are lists of three.
        try:
            reported, passed, detail = json.loads(line)
        except (ValueError, TypeError):
            continue
        return Outcome(reported, passed, detail)


def report(checks: Sequence[Check], outcomes: Iterator[Outcome]) -> bool:
    """Prints a line per check, and the fix of each that failed.

    Returns:
        Whether everything the package needs works.
    """
    by_name = {check.name: check for check in checks}
    healthy = True
    for outcome in outcomes:
        check = by_name[outcome.name]
        print(f'{verdict(check, outcome):<7} {check.name:<13} {outcome.detail}', flush=True)
        if not outcome.passed:
            print(f'{"":<7} {"":<13} fix: {check.fix}', flush=True)
            healthy = healthy and not check.required
    return healthy


def verdict(check: Check, outcome: Outcome) -> Literal['ok', 'note', 'FAILED']:
    """The word a line starts with."""
    if outcome.passed:
        return 'ok'
    return 'FAILED' if check.required else 'note'


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all checks; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m xlearner_mm.doctor',
        description='Check the installation; exit status 1 if something needed is broken.',
    )
    parser.add_argument(PROBE_ARGUMENT, nargs='+', metavar='CHECK', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.probe:
        serve_probes(options.probe)
        return 0
    return 0 if report(CHECKS, diagnose(CHECKS)) else 1


if __name__ == '__main__':
    sys.exit(main())
