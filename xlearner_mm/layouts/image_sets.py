"""VOC's lists of the images of each part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import PurePosixPath

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.layouts.folder import Folder

_PARTS = {'train': 'train', 'val': 'val', 'test': 'test', 'trainval': 'train'}


def listed_parts(folder: Folder, kind: str, files: Sequence[str], called: str, lacking: str) -> dict[str, str] | None:
    """Return file -> part by the lists ``ImageSets/<kind>/<part>.txt``, or None without lists; note files in no list.

    Lists name the files of the folder that holds them: VOC2007 and VOC2012 may have the same names. Where it holds no
    file, they name those of anywhere.

    Args:
        folder: the folder.
        kind: ``'Main'`` or ``'Segmentation'``.
        files: label files or images.
        called: what these are, for the note.
        lacking: what a listed image without such a file lacks, for the error.

    Raises:
        SourceError: a listed image without a file, or two files of its name.
    """
    found: dict[str, str] = {}
    lists = _lists(folder, kind)
    for root, parts in lists.items():
        where = f'{root}ImageSets/{kind}'
        by_stem = _by_stem(folder, [file for file in files if file.startswith(root)] or files, parts, where)
        missing = [stem for stem in parts if stem not in by_stem]
        if missing:
            raise folder.refusal(
                f'names {len(missing):,} of {len(parts):,} images that have {lacking} ({shortened(missing)}): add '
                'them, or remove them from the lists',
                where,
            )
        for stem, part in parts.items():
            found.setdefault(by_stem[stem], part)
    if not lists:
        return None
    folder.note_some(f'{called} in no list, left out', [file for file in files if file not in found])
    return found


def _lists(folder: Folder, kind: str) -> dict[str, dict[str, str]]:
    """Return the folder that holds ``ImageSets``, with its slash -> stem of a listed image -> part."""
    files = [PurePosixPath(file) for file in folder.files if file.lower().endswith('.txt')]
    by_root: dict[str, list[PurePosixPath]] = defaultdict(list)
    for file in files:
        if file.parts[-3:-1] == ('ImageSets', kind) and file.stem in _PARTS:
            by_root[''.join(f'{name}/' for name in file.parts[:-3])].append(file)
    found = {root: _read(folder, lists) for root, lists in by_root.items()}
    return {root: parts for root, parts in found.items() if parts}


def _read(folder: Folder, lists: Sequence[PurePosixPath]) -> dict[str, str]:
    """Return stem -> part of the images in the lists of one folder."""
    if 'train' in {file.stem for file in lists}:  # `trainval` holds those of `val` as well
        lists = [file for file in lists if file.stem != 'trainval']
    parts: dict[str, str] = {}
    for file in lists:
        for line in folder.read_text(str(file)).splitlines():
            if line.strip():
                parts.setdefault(line.split()[0], _PARTS[file.stem])
    return parts


def _by_stem(folder: Folder, files: Sequence[str], listed: Container[str], where: str) -> dict[str, str]:
    """Return stem -> file; two of a listed stem are refused."""
    found: dict[str, str] = {}
    for file in files:
        stem = PurePosixPath(file).stem
        other = found.setdefault(stem, file)
        if other != file and stem in listed:
            raise folder.refusal(
                f"lists '{stem}', the name of both {other} and {file}; expected one: rename one, or give each of their "
                'folders ImageSets of its own',
                where,
            )
    return found
