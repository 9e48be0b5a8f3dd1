"""Conversion of public repositories to XL-Photo, set by set, and the check that a set is complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xlearner_mm.errors import ConfigError, describe_error
from xlearner_mm.photos.catalog import CATALOG, VERSION, PhotoSet

MARKER = 'xl_photo.json'
"""File in a set's folder that names the version of its conversion; the last one written."""

_CLONES = Path('data/photo_repositories')
_ROOT = 'xl_photo'
_SUFFIXES = ('.jpg', '.png')


def make_photos(
    raw: str | os.PathLike[str],
    out: str | os.PathLike[str],
    only: Iterable[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
    catalog: Mapping[str, PhotoSet] = CATALOG,
) -> list[Path]:
    """Convert clones of the public repositories to XL-Photo.

    A complete set of this version is kept; a set is replaced as a whole or not at all.

    Args:
        raw: folder of the clones, each named like its repository.
        out: folder to write to.
        only: names of the sets to convert. Defaults to None, all.
        report: called with one line of text per set. Defaults to doing nothing.
        catalog: the sets. Defaults to those of XL-Photo.

    Returns:
        The folders of the sets.

    Raises:
        ConfigError: an unknown set; a clone that is missing, incomplete or damaged; another number of images than
            expected.
    """
    entries = chosen(only, catalog)
    for number, entry in enumerate(entries, start=1):
        folder = Path(out) / entry.folder
        state = 'kept'
        if _fault(folder, entry) is not None:
            _convert(Path(raw), Path(out), entry)
            state = 'written'
        images = ', '.join(f'{count:,} {where}' for where, count in entry.images.items())
        report(f'[{number}/{len(entries)}] {entry.name} ({entry.role}, {entry.task}): {images}: {state}')
    return [Path(out) / entry.folder for entry in entries]


def check_photos(
    root: str | os.PathLike[str], only: Iterable[str] | None = None, catalog: Mapping[str, PhotoSet] = CATALOG
) -> None:
    """Check that sets of XL-Photo are complete and of this version.

    Args:
        root: XL-Photo's folder.
        only: names of the sets. Defaults to None, all.
        catalog: the sets. Defaults to those of XL-Photo.

    Raises:
        ConfigError: a set is missing, incomplete or of another version; the message names the command that makes it.
    """
    for entry in chosen(only, catalog):
        fault = _fault(Path(root) / entry.folder, entry)
        if fault is not None:
            raise ConfigError(f"XL-Photo set '{entry.name}': {fault}; {_fix(entry, _CLONES, root)}")


def check_photos_of(cfg: Mapping[str, Any]) -> None:
    """Check the sets of XL-Photo that a config of a training or a transfer reads: half a set would train, too.

    They are the folders ``<role>/<set>`` below a folder ``xl_photo``, and elsewhere those that the conversion wrote.

    Raises:
        ConfigError: a set is missing, incomplete or of another version; the message names the command that makes it.
    """
    sets = {entry.folder: name for name, entry in CATALOG.items()}
    read = (cfg.get(key) for key in ('sources', 'train_dataloader', 'val_dataloader', 'test_dataloader'))
    for folder in sorted(map(Path, set(_data_roots(list(read))))):
        name = sets.get(Path(*folder.parts[-2:]))
        if name is not None and (_ROOT in folder.parts[-3:-2] or (folder / MARKER).is_file()):
            check_photos(folder.parents[1], [name], CATALOG)


def _data_roots(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        if isinstance(root := settings.get('data_root'), str):
            yield root
        settings = list(settings.values())
    if isinstance(settings, (list, tuple)):
        for each in settings:
            yield from _data_roots(each)


def clone_commands(raw: str | os.PathLike[str], only: Iterable[str] | None = None) -> list[list[str]]:
    """Return the commands that clone the repositories that are not there yet.

    Args:
        raw: folder of the clones.
        only: names of the sets to clone for. Defaults to None, all.
    """
    clones = {Path(raw) / entry.clone: entry.repository for entry in chosen(only, CATALOG)}
    return [
        ['git', 'clone', '--depth', '1', f'https://github.com/{repository}', str(path)]
        for path, repository in clones.items()
        if not path.exists()
    ]


def chosen(only: Iterable[str] | None, catalog: Mapping[str, PhotoSet]) -> list[PhotoSet]:
    """Return the sets of the given names, in the catalog's order."""
    names = set(catalog if only is None else only)
    if unknown := sorted(names - set(catalog)):
        raise ConfigError(f'XL-Photo: unknown set(s) {unknown}, expected some of {list(catalog)}')
    return [entry for entry in catalog.values() if entry.name in names]


def _fix(entry: PhotoSet, raw: Path, out: str | os.PathLike[str]) -> str:
    return f'python tools/make_photos.py {raw} {out} --only {entry.name} --clone makes it'


def _convert(raw: Path, out: Path, entry: PhotoSet) -> None:
    clone, folder, fix = raw / entry.clone, out / entry.folder, _fix(entry, raw, out)
    if not clone.is_dir():
        raise ConfigError(
            f"XL-Photo set '{entry.name}': {clone} is missing, expected a clone of {entry.repository}; {fix}"
        )
    aside = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        entry.convert(clone, aside)
        if (fault := _fault(aside, entry)) is not None:
            raise ConfigError(fault)
    except ConfigError as error:  # --clone keeps folders that are there
        raise ConfigError(f"XL-Photo set '{entry.name}': {error}; delete {clone}, then {fix}") from None
    (aside / MARKER).write_text(json.dumps({'version': VERSION, 'repository': entry.repository}))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _fault(folder: Path, entry: PhotoSet) -> str | None:
    """Return why a set cannot be used, or None. Without a marker its files count: the sets are also passed on so."""
    if not folder.is_dir():
        return f'{folder} is missing'
    marker = folder / MARKER
    if marker.exists():
        try:
            version = json.loads(marker.read_text())['version']
        except (OSError, ValueError, KeyError, TypeError):
            return f'{marker} is damaged'
        if version != VERSION:
            return f'{folder} is of version {version}, expected {VERSION}'
    for where, expected in entry.images.items():
        found = sum(name.endswith(_SUFFIXES) for _, _, names in os.walk(folder / where) for name in names)
        if found != expected:
            return f'{folder / where} holds {found:,} images, expected {expected:,}'
    faults = (_fault_of_list(folder / name, expected) for name, expected in entry.lists.items())
    return next(filter(None, faults), None)


def _fault_of_list(path: Path, expected: int) -> str | None:
    try:
        text = path.read_text(encoding='utf-8')
        found = len(json.loads(text)['images'] if path.suffix == '.json' else text.split())
    except FileNotFoundError:
        return f'{path} is missing'
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f'{path} is damaged ({describe_error(error)})'
    return None if found == expected else f'{path} lists {found:,} images, expected {expected:,}'
