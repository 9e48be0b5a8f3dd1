"""The request of a user: labeled folders by task, and the settings of the call."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from os import PathLike, fspath
from pathlib import Path

from xlearner_mm.errors import ConfigError
from xlearner_mm.layouts.folder import PART_OF
from xlearner_mm.pretraining.lengths import parse_budget
from xlearner_mm.sources import unfit_name

TASKS = ('cls', 'det', 'seg')
Folders = Mapping[str, 'str | PathLike[str]'] | Iterable['str | PathLike[str]'] | None


@dataclass(frozen=True)
class Request:
    """The folders and settings that a user gives.

    Args:
        folders: task -> source -> folder.
        budget: such as ``'8h'``. Defaults to None.
        epochs: of the largest source. Defaults to None.
        steps: of the expansion. Defaults to None.
        seed: of splits and trainings. Defaults to 0.
        workers: processes that load images. Defaults to None: by the cores.
        backbone: such as ``'resnet50'``. Defaults to None: by device and data.
        device: ``'cuda'`` or ``'cpu'``. Defaults to None: a GPU if there is one.

    Raises:
        ConfigError: no folder, or settings that contradict each other or are impossible.
    """

    folders: dict[str, dict[str, str]]
    budget: str | None = None
    epochs: float | None = None
    steps: int | None = None
    seed: int = 0
    workers: int | None = None
    backbone: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        names = [name for folders in self.folders.values() for name in folders]
        if not names:
            raise ConfigError('no folder: give at least one of --cls, --det and --seg (cls=, det=, seg=)')
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f'several sources are called {twice}: give each a name of its own, NAME=FOLDER')
        lengths = {'budget': self.budget, 'epochs': self.epochs, 'steps': self.steps}
        given = [f'{name} {value!r}' for name, value in lengths.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f'{" and ".join(given)} each decide the length: give one')
        if self.epochs is not None and not (isinstance(self.epochs, int | float) and 0 < self.epochs < math.inf):
            raise ConfigError(f'epochs must be a finite number above 0, got {self.epochs!r}')
        for name, value, least in (('steps', self.steps, 2), ('workers', self.workers, 0), ('seed', self.seed, 0)):
            if value is None and name != 'seed':
                continue
            if not isinstance(value, int) or not least <= value < 2**32:
                raise ConfigError(f'{name} must be a whole number from {least} to below 2**32, got {value!r}')
        if self.budget is not None:
            parse_budget(self.budget)

    def changes(self, other: Request) -> str:
        """Return the settings in which another request differs, for a message."""
        mine, others = vars(self), vars(other)
        return ', '.join(f'{key} {mine[key]!r}, not {others[key]!r}' for key in mine if mine[key] != others[key])


def named_folders(given: Folders) -> dict[str, str]:
    """Return source -> absolute folder.

    Args:
        given: a mapping, or ``NAME=FOLDER`` or folders alone, whose own names are made names of sources, or those of
            their parents where they are called like a part (``train``).

    Raises:
        ConfigError: a name that no source can have, or that two have, no folder, or anything else than folders.
    """
    if isinstance(given, str | PathLike):
        given = [given]
    if not isinstance(given, Iterable | None):
        raise ConfigError(f'expected folders of sources, got {given!r}: give a path, a list of paths, or name: path')
    pairs = list(given.items()) if isinstance(given, Mapping) else [_named(each) for each in given or ()]
    found: dict[str, str] = {}
    for name, folder in pairs:
        if not isinstance(folder, str | PathLike) or not fspath(folder):
            raise ConfigError(f"'{name}' names the folder {folder!r}: give NAME=FOLDER with the path of one")
        reason = unfit_name(name) or ('is a keyword of Python' if iskeyword(name) else '')
        if reason:
            raise ConfigError(
                f"{fspath(folder)}: no source can be called '{name}': the name {reason}; give NAME=FOLDER with another "
                'name'
            )
        if name in found:
            raise ConfigError(f"{fspath(folder)} and {found[name]} are both called '{name}': give NAME=FOLDER")
        found[name] = str(Path(folder).expanduser().absolute())
    return found


def _named(given: str | PathLike[str]) -> tuple[str, str]:
    if not isinstance(given, str | PathLike):
        raise ConfigError(f"{given!r} is no folder: give its path, or a text 'NAME=FOLDER'")
    text = fspath(given)
    name, equals, folder = text.partition('=')
    if equals and not Path(text).is_dir():
        return name, folder
    path = Path(text).absolute()
    own = path.parent.name if path.name.lower() in PART_OF else path.name
    return re.sub(r'\W+|_+', '_', own).strip('_').lower(), text
