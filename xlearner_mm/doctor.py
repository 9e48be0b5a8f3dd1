"""Check an installation and print the fix of each fault: `python -m xlearner_mm.doctor`.

Each check runs in a process of its own, because importing a broken extension can end a process.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import NamedTuple

PIP = f'{shlex.quote(sys.executable)} -m pip'
SECONDS_PER_CHECK = 120
NMS = '.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)'


class Check(NamedTuple):
    """One line of the report.

    Args:
        code: Python code that raises or exits with the reason if something is wrong, and may print details.
        fix: a command or sentence that fixes it.
        distributions: names that the package is distributed under; more than one at once is a fault.
        oldest: version. Defaults to any.
    """

    code: str
    fix: str
    distributions: tuple[str, ...] = ()
    oldest: str = ''


def _replace(*distributions: str, by: str, options: str = '') -> str:
    return f'{PIP} uninstall -y {" ".join(distributions)}; {PIP} install {options}{by}'


def _openmmlab(module: str, names: tuple[str, str], pin: str, oldest: str, then: str = '') -> Check:
    fix = _replace(*names, by=f'{names[1]}=={pin}', options='--no-build-isolation ')
    return Check(f'import {module}{then}', fix, names, oldest)


# The versions of requirements.txt (a wheel has no requirements.txt beside it).
_TORCH = f'{PIP} install torch==2.11.0 torchvision==0.26.0'
_OPENCV = ('opencv-python', 'opencv-python-headless')
_MMCV = f'{PIP} install setuptools==81.0.0 wheel ninja psutil packaging; CFLAGS=-g0 ' + _replace(
    'mmcv', 'mmcv-lite', 'onedl-mmcv', by='onedl-mmcv==2.3.6', options='--no-build-isolation --no-cache-dir '
)
CHECKS = {
    'Python': Check(
        "import sys; (3, 10) <= sys.version_info[:2] <= (3, 12) or sys.exit('3.10-3.12 is needed')\n"
        'print(*sys.version.split()[:1], sys.executable)',
        'make setup PYTHON=python3.11, or a new environment with it',
    ),
    'torch': Check('import torch; torch.ones(2, 2) @ torch.ones(2, 2)', _TORCH, ('torch',), '2.4'),
    'torchvision': Check(f'import torch, torchvision; torchvision.ops{NMS}', _TORCH, ('torchvision',), '0.15'),
    'NumPy': Check('import numpy', f'{PIP} install numpy==2.2.6', ('numpy',), '1.22'),
    'OpenCV': Check('import cv2; print(cv2.__version__)', _replace(*_OPENCV, by=f'{_OPENCV[1]}==4.12.0.88')),
    'transformers': Check(
        'from importlib import metadata\n'
        "there = [d.version for d in metadata.distributions() if d.name == 'transformers']\n"
        "there and int(there[0].split('.')[0]) > 4 and exit('`import mmpretrain.models` fails beside transformers 5')\n"
        "print(*there or ['not installed, not needed'])",
        f'{PIP} install transformers==4.57.6',
    ),
    # yapf, which lays out printed configs, caches its grammar at its first import, in a file that others can read
    # before all of it is written: processes that import yapf first at the same time, as ranks do, may read half.
    'mmengine': _openmmlab(
        'mmengine', ('mmengine', 'onedl-mmengine'), '0.10.12', '0.10', then=', yapf.yapflib.yapf_api'
    ),
    'mmcv': Check(
        f'import torch, mmcv._ext, mmcv.ops; mmcv.ops{NMS}', _MMCV, ('mmcv', 'mmcv-lite', 'onedl-mmcv'), '2.0'
    ),
    'mmdet': _openmmlab('mmdet.models', ('mmdet', 'onedl-mmdetection'), '3.5.1', '3.0'),
    'mmpretrain': _openmmlab('mmpretrain.models', ('mmpretrain', 'onedl-mmpretrain'), '1.3.6', '1.0'),
    'mmseg': _openmmlab('mmseg.models', ('mmsegmentation', 'onedl-mmsegmentation'), '1.4.2', '1.0'),
    'xlearner_mm': Check(
        'import xlearner_mm, mmengine\nplace = xlearner_mm.__path__[0]\n'
        "mmengine.MODELS.get('XLearnerResNet') or exit(place + ' does not register XLearnerResNet')\n"
        "print(xlearner_mm.__version__ + ', registered from ' + place)",
        f'in the clone: {PIP} install --no-build-isolation --no-deps -e .',
    ),
    'GPU': Check(
        'import torch, mmcv.ops\n'
        'if torch.cuda.is_available():\n'
        f'    with torch.device(0): mmcv.ops{NMS}\n'
        "    print(torch.cuda.device_count(), 'x', torch.cuda.get_device_name(0))\n"
        "else: print('none: training runs on the CPU')",
        f"mmcv's ops run on the CPU only: install the CUDA toolkit of torch's CUDA version, then: {_MMCV}",
    ),
}


def examine(check: Check, seconds: float = SECONDS_PER_CHECK) -> tuple[bool, str]:
    """Run one check, and return whether it passed, and the details to print."""
    there = {d.name: d.version for d in metadata.distributions() if d.name in check.distributions}
    if len(there) > 1:
        return False, f'installed twice, one over the other: {" and ".join(sorted(there))}'
    for version in there.values():
        if _numbers(version) < _numbers(check.oldest):
            return False, f'{version}, but {check.oldest} or newer is needed'
    try:
        # Without the current folder, where the clone would be found even if it is not installed.
        command = [sys.executable, '-c', f'import sys; sys.path.remove("")\n{check.code}']
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return False, f'no answer within {seconds:.0f} s'
    if done.returncode not in (0, 1):
        return False, f'the import ended Python (exit status {done.returncode})'
    if done.returncode:
        return False, done.stderr.strip().splitlines()[-1]
    return True, ', '.join(f'{version} ({name})' for name, version in there.items()) or done.stdout.strip()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r'\d+', version)[:3])


def main(arguments: list[str] | None = None) -> int:
    """Run all checks, print a line for each and the fix of each that failed, and return the exit status."""
    description = 'Check the installation; exit status 1 if something needed is broken.'
    argparse.ArgumentParser('python -m xlearner_mm.doctor', description=description).parse_args(arguments)
    healthy = True
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, check), (passed, details) in zip(CHECKS.items(), pool.map(examine, CHECKS.values()), strict=True):
            verdict = 'ok' if passed else 'note' if name == 'GPU' else 'FAILED'
            print(f'{verdict:<7} {name:<13} {details}', flush=True)
            if not passed:
                print(f'{"":<21} fix: {check.fix}', flush=True)
            healthy = healthy and verdict != 'FAILED'
    return 0 if healthy else 1


if __name__ == '__main__':
    sys.exit(main())
