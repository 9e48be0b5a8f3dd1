"""VOC's lists of the images of each part."""

from __future__ import annotations

from pathlib import PurePosixPath

from xlearner_mm.layouts.folder import Folder

_PARTS = {'train': 'train', 'val': 'val', 'test': 'test', 'trainval': 'train'}


def image_sets(folder: Folder, kind: str) -> dict[str, str]:
    """Return stem -> part of the images in the lists ``ImageSets/<kind>/<part>.txt``; empty without lists.

    Args:
        folder: the folder.
        kind: ``'Main'`` or ``'Segmentation'``.
    """
    files = [PurePosixPath(file) for file in folder.files if file.lower().endswith('.txt')]
    lists = [file for file in files if file.parts[-3:-1] == ('ImageSets', kind) and file.stem in _PARTS]
    stems = {file.stem for file in lists}
    if 'train' in stems:  # `trainval` holds those of `val` as well
        lists = [file for file in lists if file.stem != 'trainval']
    parts: dict[str, str] = {}
    for file in lists:
        for line in folder.read_text(str(file)).splitlines():
            if line.strip():
                parts.setdefault(line.split()[0], _PARTS[file.stem])
    return parts
