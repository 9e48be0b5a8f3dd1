"""One start of a training: all that its result depends on, as plain data."""

from __future__ import annotations

import hashlib
import json
import os.path as osp
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

import xlearner_mm
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.engine.run_record.git_state import git_state
from xlearner_mm.models.backbones.start import pretrained_entries
from xlearner_mm.models.distillation import FrozenModel
from xlearner_mm.models.squeeze import FitNetDistiller
from xlearner_mm.transfer.checkpoint import resolve_checkpoint, sha256_of

LIBRARIES = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
_DOES_NOT_MATTER = ('work_dir', 'resume', 'load_from', 'launcher', 'experiment_name', 'log_level', 'visualizer')
"""Settings that differ between a start and its resumption, or change no result."""


def describe_start(runner: Runner) -> dict[str, Any]:
    """Return versions, git state, config, data, teachers, seed and machine of a training that is about to begin.

    Args:
        runner: resumed already, if it is resumed.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
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
        'git': {'xlearner_mm': git_state(Path(xlearner_mm.__file__).parent), 'working_directory': git_state(Path())},
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
    return {'xlearner_mm': xlearner_mm.__version__, 'python': platform.python_version(), **loaded}


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
