"""One start of a training: all that its result depends on, as plain data."""

from __future__ import annotations

import hashlib
import json
import os.path as osp
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from torch import nn

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.checkpoint import resolve_checkpoint, sha256_of
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.backbones.xlearner_resnet import pretrained_entries
from xlearner_mm.models.distillation import FrozenModel
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.version import __version__

LIBRARIES = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
_DOES_NOT_MATTER = ('work_dir', 'resume', 'load_from', 'launcher', 'experiment_name', 'log_level', 'visualizer')
"""Settings that differ between a start and its resumption, or change no result."""


def describe_start(runner: Runner) -> dict[str, Any]:
    """Return versions, git state, config, data, teachers, seed and machine of a training that is about to begin.

    Args:
        runner: resumed already, if it is resumed.
    """
    model = unwrapped(runner.model)
    return {
        'time': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'command': shlex.join(sys.argv),
        'iteration': runner.iter,
        'not_taken_over': list(getattr(runner, 'not_taken_over', ())),
        'config': _config(runner),
        'seed': runner.seed,
        'deterministic': torch.are_deterministic_algorithms_enabled(),
        'world_size': runner.world_size,
        'workers': runner.train_dataloader.num_workers,
        'machine': _machine(),
        'versions': _versions(),
        'git': {'xlearner_mm': git_state(Path(__file__).parent), 'working_directory': git_state(Path())},
        'data': _data(runner.train_dataloader.dataset),
        'started_from': _started_from(runner, model),
        'teachers': {teacher.what: teacher.described() for teacher in _teachers(model)},
    }


def _config(runner: Runner) -> dict[str, str | None]:
    settings = {key: value for key, value in runner.cfg.to_dict().items() if key not in _DOES_NOT_MATTER}
    text = json.dumps(settings, sort_keys=True, default=str)
    return {'file': runner.cfg.filename, 'sha256': hashlib.sha256(text.encode()).hexdigest()}


def _machine() -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        'system': platform.platform(),
        'device': torch.cuda.get_device_name() if cuda else f'cpu, {torch.backends.cpu.get_cpu_capability()}',
        'threads': torch.get_num_threads(),
        'cuda': torch.version.cuda if cuda else None,
        'cudnn': torch.backends.cudnn.version() if cuda else None,
    }


def _versions() -> dict[str, str]:
    """Of what is in use: a library that nothing has imported has no part in the result."""
    loaded = {name: str(sys.modules[name].__version__) for name in LIBRARIES if name in sys.modules}
    return {'xlearner_mm': __version__, 'python': platform.python_version(), **loaded}


def _data(dataset: Any) -> dict[str, dict[str, Any]]:
    datasets = dataset.datasets if isinstance(dataset, MultiSourceDataset) else {'train_dataloader': dataset}
    return {name: {'images': len(own), 'fingerprint': fingerprint(own)} for name, own in datasets.items()}  # type: ignore[arg-type]


def _started_from(runner: Runner, model: nn.Module) -> dict[str, dict[str, str | None]]:
    """File and hash of every checkpoint that the first weights came from."""
    # XLearnerResNet keeps a checkpoint from MMEngine's own initialisation, which would only warn.
    named = {
        f'model.{name}': getattr(module, 'pretrained_cfg', None) or getattr(module, 'init_cfg', None)
        for name, module in model.named_modules()
    }
    if isinstance(model, FitNetDistiller):
        named['model.student'] = model.describe()['backbone'].get('init_cfg')
    found = {place: entry['checkpoint'] for place, init_cfg in named.items() for entry in pretrained_entries(init_cfg)}
    if runner.cfg.get('load_from') and not runner._resume:
        found['load_from'] = runner.cfg.load_from
    return {place: {'checkpoint': path, 'sha256': _hash_of(path)} for place, path in found.items()}


def _hash_of(path: str) -> str | None:
    # An address is not fetched for its hash; a file of a training that is resumed may be gone.
    return sha256_of(resolve_checkpoint(path)) if osp.exists(path) else None


def _teachers(model: nn.Module) -> list[FrozenModel]:
    """Those of a squeeze and of hints, which are in no list of modules."""
    found: list[FrozenModel] = []
    for module in model.modules():
        held = [vars(module).get('teacher'), *vars(module).get('further_teachers', {}).values()]
        found += [each for each in held if isinstance(each, FrozenModel)]
    return found


RECORD = 'run.json'
"""Its name: ``{"starts": [<the first>, <each resumed one>, ...]}``."""


def read_starts(work_dir: Path) -> list[dict[str, Any]]:
    """Return what a work directory says of the starts of its training, the first one first.

    Raises:
        ConfigError: the file is damaged.
    """
    path = work_dir / RECORD
    if not path.is_file():
        return []
    try:
        return list(json.loads(path.read_text(encoding='utf-8'))['starts'])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} is damaged ({error}): move it away, and the next start begins a new one') from error


def add_start(work_dir: Path, start: dict[str, Any]) -> list[str]:
    """Write one more start into the file of a work directory.

    Args:
        work_dir: the work directory.
        start: plain data.

    Returns:
        What differs from the start before it, as dotted names; empty for the first one.

    Raises:
        ConfigError: the file that is there is damaged.
    """
    starts = read_starts(work_dir)
    atomic_write_text(work_dir / RECORD, json.dumps({'starts': [*starts, start]}, indent=1) + '\n')
    return _differences(starts[-1], start) if starts else []


_OF_THE_START = ('time', 'command', 'iteration', 'not_taken_over')
"""What is another in every start."""


def _differences(before: Any, now: Any, path: str = '') -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if path or name not in _OF_THE_START]
        inner = (_differences(before.get(name), now.get(name), f'{path}.{name}' if path else name) for name in names)
        return [found for found_within in inner for found in found_within]
    return [] if before == now else [path]


SECONDS = 20
"""How long git may take; a repository on a slow file system must not hold a training up."""


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the repository that a folder is in, and whether its files differ from it.

    Args:
        folder: anywhere in the repository.

    Returns:
        ``repository``, ``commit``, ``dirty`` (tracked files differ from the commit) and ``diff_sha256`` (of the
        difference; None without one). Where git cannot tell, ``none`` with the reason alone.
    """
    try:
        root = _git(folder, 'rev-parse', '--show-toplevel').decode().strip()
        commit = _git(folder, 'rev-parse', 'HEAD').decode().strip()
        difference = _git(Path(root), 'diff', '--no-ext-diff', '--binary', 'HEAD')
    except FileNotFoundError:
        return {'none': f'git is not installed, or {folder} does not exist'}
    except subprocess.TimeoutExpired:
        return {'none': f'git takes longer than {SECONDS} s in {folder}'}
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors='replace').strip().splitlines()
        return {'none': said[0] if said else f'git failed in {folder}'}
    digest = hashlib.sha256(difference).hexdigest() if difference else None
    return {'repository': root, 'commit': commit, 'dirty': bool(difference), 'diff_sha256': digest}


def _git(folder: Path, *arguments: str) -> bytes:
    command = ('git', '-C', str(folder), *arguments)
    return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout
