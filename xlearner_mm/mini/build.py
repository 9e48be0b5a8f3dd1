"""Writes XL-Mini to disk: a set at a time, all or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from zlib import crc32

import numpy as np

from xlearner_mm.errors import ConfigError
from xlearner_mm.mini.catalog import CATALOG, VERSION, MiniSet
from xlearner_mm.mini.layouts import WRITERS
from xlearner_mm.mini.recipes import RECIPES
from xlearner_mm.mini.sample import Sample
from xlearner_mm.mini.sheets import save_sheet

MARKER = 'xl_mini.json'
"""File in a set's folder that says what it was made from; the last one written."""

_SHEET = 48  # pictures on a contact sheet

Report = Callable[[str], None]


def make_mini(
    root: str | os.PathLike[str],
    seed: int = 0,
    only: Iterable[str] | None = None,
    scale: float = 1.0,
    report: Report = lambda line: None,
) -> list[Path]:
    """Write XL-Mini, with a contact sheet of each set in ``sheets/``.

    Sets that are there already, complete and made from the same seed, scale and version, are kept.

    Args:
        root: Folder to write to; made when it is missing.
        seed: Same seed, same bytes. Default: 0.
        only: Names of the sets to write. Default: None, all.
        scale: Factor on the number of pictures. Default: 1.0.
        report: Called with a line of text as each set is done. Default: says nothing.

    Returns:
        The folders of the sets, in the order of ``CATALOG``.

    Raises:
        ConfigError: An unknown set, or a scale that is not positive.
        OSError: ``root`` cannot be written to.
        MaterialError: An installed package lacks a picture or font.
    """
    base = _writable(Path(root))
    if scale <= 0:
        raise ConfigError(f'scale must be positive, got {scale}')
    entries = _chosen(only)
    for number, entry in enumerate(entries, start=1):
        counts = entry.scaled(scale)
        made = _make_set(base, entry, seed, counts)
        sheet = base / 'sheets' / f'{entry.name}.png'
        shown = min(_SHEET, counts[entry.held_out])
        if made or not sheet.is_file():
            save_sheet(sheet, entry, _samples(entry, entry.held_out, seed, shown))
        total = ', '.join(f'{n} {split}' for split, n in counts.items())
        state = 'written' if made else 'there already'
        report(f'[{number}/{len(entries)}] {entry.name} ({entry.role}, {entry.task}): {total}: {state}')
    return [base / entry.name for entry in entries]


def is_complete(folder: Path, seed: int, counts: dict[str, int]) -> bool:
    """Return whether a set's folder holds all of what this version makes from seed and counts."""
    try:
        return json.loads((folder / MARKER).read_text()) == _marker(seed, counts)
    except (OSError, ValueError):
        return False


def _marker(seed: int, counts: dict[str, int]) -> dict[str, object]:
    return {'version': VERSION, 'seed': seed, 'counts': counts}


def _writable(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Two processes may write sets of one root at the same time.
        probe = root / f'.writable-{os.getpid()}'
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f'XL-Mini cannot be written to {root}: {error}') from error
    return root


def _chosen(only: Iterable[str] | None) -> list[MiniSet]:
    if only is None:
        return list(CATALOG.values())
    names = set(only)
    unknown = sorted(names - set(CATALOG))
    if unknown:
        raise ConfigError(f'unknown sets {unknown}; XL-Mini has {list(CATALOG)}')
    return [entry for entry in CATALOG.values() if entry.name in names]


def _make_set(root: Path, entry: MiniSet, seed: int, counts: dict[str, int]) -> bool:
    """Write a set unless it is there; return whether it was written."""
    final, aside = root / entry.name, root / f'.{entry.name}.partial'
    if is_complete(final, seed, counts):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    for split, count in counts.items():
        WRITERS[entry.layout](aside, entry, split, _samples(entry, split, seed, count))
    (aside / MARKER).write_text(json.dumps(_marker(seed, counts)))
    # Swapped by renaming, so that a training that reads the old set is not left without files.
    old = root / f'.{entry.name}.old'
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    aside.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _samples(entry: MiniSet, split: str, seed: int, count: int) -> Iterator[Sample]:
    """Yield the pictures of a split; each depends on its own number alone."""
    recipe = RECIPES[entry.name]
    for index in range(count):
        key = [seed, crc32(entry.name.encode()), crc32(split.encode()), index]
        yield recipe(np.random.default_rng(key), index, split == entry.held_out)
