"""Trainings of this repository as jobs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlearner_mm.pipeline.job import Job


def training_job(
    name: str,
    config: Path,
    folder: Path,
    options: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (),
    seconds: float = 60.0,
    train: Path = Path('tools/train.py'),
) -> Job:
    """Return ``tools/train.py CONFIG`` as a job that resumes from its latest checkpoint.

    Args:
        name: of the job.
        config: a text config; it and its bases are inputs of the job.
        folder: its work directory, used by no other job.
        options: overrides of the config, ``{'train_cfg.max_iters': 10}``. Defaults to none.
        needs: jobs before it. Defaults to none.
        seconds: about how long it takes. Defaults to 60.
        train: the tool. Defaults to ``tools/train.py``.
    """
    command = [sys.executable, str(train), str(config), '--work-dir', str(folder)]
    if options:
        command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return Job(
        name,
        tuple(command),
        needs,
        seconds,
        inputs=tuple(config_files(config)),
        folder=folder,
        outputs=(folder / 'last_checkpoint',),
        resume=('--resume',),
    )


def config_files(config: Path) -> list[Path]:
    """Return a text config and all its bases, as far as they are files.

    Raises:
        FileNotFoundError: no such config.
    """
    files = [config]
    for base in _bases(config):
        if '::' not in base:  # another library's config: its version decides, not a file of ours
            files += [file for file in config_files(config.parent / base) if file not in files]
    return files


def _bases(config: Path) -> list[str]:
    for node in ast.parse(config.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '_base_' for t in node.targets):
            bases = ast.literal_eval(node.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []
