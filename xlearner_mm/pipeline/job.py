"""Jobs: command lines that wait for each other."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from xlearner_mm.errors import ConfigError


class JobError(ValueError):
    """Jobs that cannot be put in order."""


@dataclass(frozen=True)
class Job:
    """A command with the jobs that it needs and the files that it writes.

    Args:
        name: unique; slashes make folders of logs, e.g. ``'xlearner/squeeze'``.
        command: program and arguments.
        needs: names of the jobs that must succeed before. Defaults to none.
        seconds: estimated run time alone on one core, for order and time left. Defaults to 10.
        inputs: files that the result depends on; a missing one counts as empty. Defaults to none.
        folder: work directory of this job alone, with its progress file; emptied unless the job is resumed, and
            refused if it holds what no recorded run has written. Defaults to None.
        outputs: files that a successful job writes. Defaults to none.
        resume: arguments that resume an interrupted run, or a failed one that has saved a checkpoint. Defaults to none:
            it starts over.
        repeat: whether it runs again although it has finished, because what it checks or writes can change unseen.
            Defaults to False.
        after: those of ``seconds`` that follow the last step in its progress file, such as a validation. Defaults to 0.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    seconds: float = 10.0
    inputs: tuple[Path, ...] = ()
    folder: Path | None = None
    outputs: tuple[Path, ...] = ()
    resume: tuple[str, ...] = ()
    repeat: bool = False
    after: float = 0.0

    def fingerprint(self, needed: Iterable[str] = ()) -> str:
        """Return a hash of command, inputs, and the fingerprints of the needed jobs; Python may be moved."""
        command = ['python' if part == sys.executable else part for part in self.command]
        digest = hashlib.sha256(json.dumps([command, *needed]).encode())
        for path in self.inputs:
            digest.update(path.read_bytes() if path.is_file() else b'')
            digest.update(b'\0')
        return digest.hexdigest()[:16]

    def has_saved(self) -> bool:
        """Return whether it can be resumed from a checkpoint, also after a failure, such as by a full disk."""
        return bool(self.resume) and self.folder is not None and (self.folder / 'last_checkpoint').is_file()

    def missing_outputs(self) -> list[Path]:
        """Return the outputs that do not exist."""
        return [path for path in self.outputs if not path.exists()]


def training_job(
    name: str,
    config: Path,
    folder: Path,
    options: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (),
    seconds: float = 60.0,
    train: Path = Path('tools/train.py'),
    after: float = 0.0,
) -> Job:
    """Return ``tools/train.py CONFIG`` as a job that resumes from its latest checkpoint.

    Args:
        name: of the job.
        config: a text config; it and its bases are inputs of the job.
        folder: the work directory.
        options: overrides of the config, ``{'train_cfg.max_iters': 10}``. Defaults to none.
        needs: as for :class:`Job`. Defaults to none.
        seconds: as for :class:`Job`. Defaults to 60.
        train: path of the tool. Defaults to ``tools/train.py``.
        after: as for :class:`Job`. Defaults to 0.
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
        after=after,
    )


def config_files(config: Path) -> list[Path]:
    """Return a text config and all its bases that are files.

    Raises:
        FileNotFoundError: no such config.
        ConfigError: a config that is no Python, or a base that is missing.
    """
    files = [config]
    for base in _bases(config):
        if '::' in base:  # a config of an installed library
            continue
        path = config.parent / base
        if not path.is_file():
            raise ConfigError(f"{config}: its _base_ '{base}' is missing, there is no {path}; correct the path")
        files += [file for file in config_files(path) if file not in files]
    return files


def _bases(config: Path) -> list[str]:
    try:
        lines = ast.parse(config.read_text(encoding='utf-8')).body
    except UnicodeDecodeError as error:
        raise ConfigError(f'{config}: byte {error.start} is not UTF-8; save the file in UTF-8') from error
    except SyntaxError as error:
        raise ConfigError(f'{config}:{error.lineno}: {error.msg}') from error
    for node in lines:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '_base_' for t in node.targets):
            bases = ast.literal_eval(node.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []


def in_order(jobs: Sequence[Job]) -> dict[str, Job]:
    """Return the jobs by name, each after the jobs that it needs.

    Raises:
        JobError: two jobs of one name, a need that is no job, or jobs that wait for each other.
    """
    by_name = {job.name: job for job in jobs}
    if len(by_name) < len(jobs):
        names = [job.name for job in jobs]
        raise JobError(f'several jobs are called {sorted({name for name in names if names.count(name) > 1})}')
    for job in jobs:
        unknown = [need for need in job.needs if need not in by_name]
        if unknown:
            raise JobError(f"job '{job.name}' needs {unknown}, which are no jobs; there are {sorted(by_name)}")
    try:
        order = TopologicalSorter({job.name: job.needs for job in jobs}).static_order()
        return {name: by_name[name] for name in order}
    except CycleError as error:
        raise JobError(f'jobs wait for each other: {" -> ".join(error.args[1])}') from error


def ranks(jobs: Mapping[str, Job]) -> dict[str, float]:
    """Return the seconds of the longest chain that begins with each job; ready jobs start by falling rank.

    Args:
        jobs: as :func:`in_order` returns them.
    """
    behind = dict.fromkeys(jobs, 0.0)
    rank: dict[str, float] = {}
    for name, job in reversed(list(jobs.items())):
        rank[name] = job.seconds + behind[name]
        for need in job.needs:
            behind[need] = max(behind[need], rank[name])
    return rank
