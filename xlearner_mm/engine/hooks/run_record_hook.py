"""Record of what a training's result depends on."""

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
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.checkpoint import resolve_checkpoint, sha256_of
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.backbones.xlearner_resnet import pretrained_entries
from xlearner_mm.models.distillation.teachers import FrozenModel
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.models.unwrapped import unwrapped
from xlearner_mm.registry import HOOKS
from xlearner_mm.version import __version__

RECORD = 'run.json'
"""Name of the record: ``{"starts": [<the first>, <each resumed one>, ...]}``."""
LIBRARIES = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
SECONDS = 20
"""Time limit of git, which may hang on a slow file system."""
DOES_NOT_MATTER = ('work_dir', 'resume', 'load_from', 'launcher', 'experiment_name', 'log_level', 'visualizer')
"""Settings that differ when a training is resumed, or do not change the result."""
_OF_THE_START = ('time', 'command', 'iteration', 'not_taken_over')
"""Entries that differ in every start."""


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Add every start of a training to ``run.json`` in its work directory, before the first step.

    A start has versions, git state, a digest of the config (MMEngine writes the config itself beside it), fingerprints
    of every source's data, hashes of teachers, hints and initial checkpoints, seed and machine. Differences of a
    resumed training from the start before are warnings: its result is not that of an uninterrupted one.

    Raises:
        ConfigError: the existing file is damaged.
    """

    # After the checks of other hooks: a training that they refuse has not started.
    priority = 'LOWEST'

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Add an entry."""
        work_dir = Path(runner.work_dir)
        changed = add_start(work_dir, describe_start(runner))
        kept = getattr(runner, 'not_taken_over', ())
        if kept:
            runner.logger.warning(
                f"{work_dir / RECORD}: the checkpoint's schedule and optimizer settings are kept, unless you give "
                f'--resume-schedule config; not taken over: {", ".join(kept)}'
            )
        if changed and runner.iter > 0:
            runner.logger.warning(f'{work_dir / RECORD}: changed since the last start: {", ".join(changed)}')


def describe_start(runner: Runner) -> dict[str, Any]:
    """Return versions, git state, config, data, teachers, seed and machine of a training as plain data.

    Args:
        runner: about to train; if it is resumed, after that.
    """
    model = unwrapped(runner.model)
    settings = {key: value for key, value in runner.cfg.to_dict().items() if key not in DOES_NOT_MATTER}
    text = json.dumps(settings, sort_keys=True, default=str)
    dataset: Any = runner.train_dataloader.dataset
    several = isinstance(dataset, MultiSourceDataset)
    datasets: dict[str, Any] = dict(dataset.datasets) if several else {'train_dataloader': dataset}
    cuda = torch.cuda.is_available()
    # A library that is not imported has no effect on the result.
    versions = {name: str(sys.modules[name].__version__) for name in LIBRARIES if name in sys.modules}
    return {
        'time': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'command': shlex.join(sys.argv),
        'iteration': runner.iter,
        'not_taken_over': list(getattr(runner, 'not_taken_over', ())),
        'config': {'file': runner.cfg.filename, 'sha256': hashlib.sha256(text.encode()).hexdigest()},
        'seed': runner.seed,
        'deterministic': torch.are_deterministic_algorithms_enabled(),
        'world_size': runner.world_size,
        'workers': runner.train_dataloader.num_workers,
        'machine': {
            'system': platform.platform(),
            'device': torch.cuda.get_device_name() if cuda else f'cpu, {torch.backends.cpu.get_cpu_capability()}',
            'threads': torch.get_num_threads(),
            'cuda': torch.version.cuda if cuda else None,
            'cudnn': torch.backends.cudnn.version() if cuda else None,
        },
        'versions': {'xlearner_mm': __version__, 'python': platform.python_version(), **versions},
        'git': {'xlearner_mm': git_state(Path(__file__).parent), 'working_directory': git_state(Path())},
        'data': {name: {'images': len(own), 'fingerprint': fingerprint(own)} for name, own in datasets.items()},
        'started_from': _started_from(runner, model),
        'teachers': {teacher.what: teacher.described() for teacher in _teachers(model)},
    }


def _started_from(runner: Runner, model: nn.Module) -> dict[str, dict[str, str | None]]:
    """Return path and hash of every checkpoint that initial weights come from."""
    # XLearnerResNet keeps a checkpoint out of its init_cfg, since MMEngine's own initialization would only warn.
    named = {
        f'model.{name}': getattr(module, 'pretrained_cfg', None) or getattr(module, 'init_cfg', None)
        for name, module in model.named_modules()
    }
    if isinstance(model, FitNetDistiller):
        named['model.student'] = model.describe()['backbone'].get('init_cfg')
    found = {place: entry['checkpoint'] for place, init_cfg in named.items() for entry in pretrained_entries(init_cfg)}
    if runner.cfg.get('load_from') and not runner._resume:
        found['load_from'] = runner.cfg.load_from
    # URLs are not downloaded for their hash; the file of a resumed training may be gone.
    hashes = {path: sha256_of(resolve_checkpoint(path)) for path in found.values() if osp.exists(path)}
    return {place: {'checkpoint': path, 'sha256': hashes.get(path)} for place, path in found.items()}


def _teachers(model: nn.Module) -> list[FrozenModel]:
    """Return the teachers of a squeeze and of hints, which are not registered as modules."""
    found: list[FrozenModel] = []
    for module in model.modules():
        held = [vars(module).get('teacher'), *vars(module).get('further_teachers', {}).values()]
        found += [each for each in held if isinstance(each, FrozenModel)]
    return found


def read_starts(work_dir: Path) -> list[dict[str, Any]]:
    """Return the recorded starts of a work directory, the first one first.

    Raises:
        ConfigError: the file is damaged.
    """
    path = work_dir / RECORD
    if not path.is_file():
        return []
    try:
        return list(json.loads(path.read_text(encoding='utf-8'))['starts'])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} is damaged ({error}): move it away, and the next start writes a new one') from error


def add_start(work_dir: Path, start: dict[str, Any]) -> list[str]:
    """Add a start to the record, and return the dotted names of what has changed since the one before.

    Raises:
        ConfigError: the existing file is damaged.
    """
    starts = read_starts(work_dir)
    atomic_write_text(work_dir / RECORD, json.dumps({'starts': [*starts, start]}, indent=1) + '\n')
    return _differences(starts[-1], start) if starts else []


def _differences(before: Any, now: Any, path: str = '') -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if path or name not in _OF_THE_START]
        inner = (_differences(before.get(name), now.get(name), f'{path}.{name}' if path else name) for name in names)
        return [name for found in inner for name in found]
    return [] if before == now else [path]


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit of the repository that a folder is in, and whether its files differ from it.

    Returns:
        ``repository``, ``commit``, ``dirty`` (tracked files differ from the commit) and ``diff_sha256`` (of the
        difference, or None); where git fails, ``none`` with the reason alone.
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
        lines = error.stderr.decode(errors='replace').strip().splitlines()
        return {'none': lines[0] if lines else f'git failed in {folder}'}
    digest = hashlib.sha256(difference).hexdigest() if difference else None
    return {'repository': root, 'commit': commit, 'dirty': bool(difference), 'diff_sha256': digest}


def _git(folder: Path, *arguments: str) -> bytes:
    command = ('git', '-C', str(folder), *arguments)
    return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout
