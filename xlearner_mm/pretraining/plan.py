"""The plan of a pretraining: what was asked for, what was chosen, and the configs written for it."""

from __future__ import annotations

import hashlib
import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from xlearner_mm.atomic import atomic_write_text
from xlearner_mm.errors import ConfigError
from xlearner_mm.pretraining.request import TASKS, Request
from xlearner_mm.pretraining.stage_files import EXPANSION, SQUEEZE
from xlearner_mm.typed_json import from_json, to_json

RECORD = 'pretrain.json'
"""File of the plan."""


@dataclass(frozen=True)
class Line:
    """A choice as it is printed: file, setting, value and reason."""

    file: str
    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The record of a pretraining in ``<out>/pretrain.json``.

    Args:
        request: what was asked for.
        sources: source -> task.
        lines: the choices.
        understood: the folders, for people.
        summary: memory and time, for people.
        seconds: stage -> estimated duration.
        device: kind of the device that trains.
        written: file -> hash of its content.
        validation: estimated seconds of a validation, with which each stage ends. Defaults to 0.
    """

    request: Request
    sources: dict[str, str]
    lines: list[Line]
    understood: str
    summary: str
    seconds: dict[str, float]
    device: str
    written: dict[str, str] = field(default_factory=dict)
    validation: float = 0.0

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of their branches."""
        return list(dict.fromkeys(self.sources.values()))

    @property
    def stages(self) -> list[str]:
        """The trainings: of one task, there is nothing to squeeze."""
        return [EXPANSION, SQUEEZE] if len(self.tasks) > 1 else [EXPANSION]

    @property
    def limits(self) -> str:
        """What X-Learner cannot add to this pretraining; empty for several tasks."""
        if len(self.tasks) > 1:
            return ''
        if len(self.sources) == 1:
            learned = 'one source has one branch, trained as its stock network is'
        else:
            learned = 'sources of one task share one branch, which learns from all of them'
        return (
            f"{learned}, and exported. X-Learner's links and squeeze work between tasks: to learn across them, add a "
            f'folder by {" or ".join(f"--{task}" for task in TASKS if task not in self.tasks)}.'
        )

    def edited(self, out: Path) -> list[str]:
        """Return the files that are no longer as they were written."""
        return [file for file, digest in self.written.items() if digest_of(out / file) != digest]

    def write(self, out: Path) -> None:
        """Write the record."""
        atomic_write_text(out / RECORD, json.dumps(to_json(self), indent=1, ensure_ascii=False))

    def show(self, out: Path) -> None:
        """Print what was understood and chosen, and which of the files in ``out`` were edited since."""
        print(self.understood)
        edited = self.edited(out)
        for file in self.written:
            print(f'{file}, edited since: the file decides, not the values below' if file in edited else file)
            for line in (line for line in self.lines if line.file == file):
                text = f'{line.setting} = {line.value}: {line.reason}'
                print(textwrap.fill(text, 118, initial_indent='  ', subsequent_indent='      '))
        print(self.summary)
        if self.limits:
            print(f'note: {self.limits}')


def read_plan(out: Path) -> Plan | None:
    """Return the plan in a folder; None without one.

    Raises:
        ConfigError: the record is none.
    """
    path = out / RECORD
    if not path.exists():
        return None
    try:
        return from_json(Plan, json.loads(path.read_text(encoding='utf-8')))
    except ValueError as error:
        raise ConfigError(f'{path} is not the record of a pretraining: {error}; give another --out') from error


def digest_of(path: Path) -> str:
    """Return the hash of a file's content; empty without the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''
