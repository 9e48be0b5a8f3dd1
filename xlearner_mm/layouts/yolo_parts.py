"""Parts of a folder with YOLO's labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.layouts.folder import PART_OF, Folder, key_of, place

_PARTS = ('train', 'val', 'test')
_HELD_OUT = ('val', 'test')


def find_parts(folder: Folder, settings: Mapping[str, Any], images: Sequence[str]) -> dict[str, str]:
    """Return image -> part, without the images that are in none.

    ``data.yaml``, or else lists such as ``train.txt``, state the parts; folders called as a part do so for each part
    that these leave open. Without any of them, all images are for training.

    Args:
        folder: the folder.
        settings: content of ``data.yaml``, with its name as ``file``; empty without one.
        images: those with labels.

    Raises:
        SourceError: a part that is no path, or a path or an image that is not there.
    """
    assigned = _assigned(folder, _of_settings(folder, settings)) or _assigned(folder, _of_lists(folder))
    by_folder = {image: place(os.path.dirname(image)).part for image in images}
    if not assigned:
        return {image: part or 'train' for image, part in by_folder.items()}
    stated = set(assigned.values())
    by_folder = {image: part for image, part in by_folder.items() if part not in stated}
    parts = {image: part for image in images if (part := assigned.get(image) or by_folder.get(image))}
    where = settings['file'] if any(settings.get(part) for part in _PARTS) else 'train.txt or lists like it'
    if not parts:
        raise folder.refusal(f'has no image with labels in a part of {where}: correct the parts, or add the labels')
    folder.note_some(f'images in no part of {where}, left out', [image for image in images if image not in parts])
    return parts


def _assigned(folder: Folder, stated: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return image -> part of stated parts; one of several is not trained on, unless that left nothing to train on."""
    train, held_out = set(stated.get('train', ())), {image for part in _HELD_OUT for image in stated.get(part, ())}
    nothing_left = train <= held_out
    found: dict[str, str] = {}
    for part in ('train', *_HELD_OUT) if nothing_left else (*_HELD_OUT, 'train'):
        for image in stated.get(part, ()):
            found.setdefault(image, part)
    unused = 'validated' if nothing_left else 'trained'
    folder.note_some(f'images stated for training and for another part, not {unused} on', sorted(train & held_out))
    return found


def _of_settings(folder: Folder, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return part -> images as ``data.yaml`` states them."""
    found: dict[str, list[str]] = {}
    for part in _PARTS:
        stated = settings.get(part) or []
        names = [stated] if isinstance(stated, str) else stated
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise folder.refusal(
                f'has {part}: {stated!r}; expected a folder or a list of images, or several: correct it',
                settings['file'],
            )
        spare = part == 'test' and bool(settings.get('val'))  # not used, and often not there
        if spare:
            names = [name for name in names if _path(folder, settings, name) is not None]
        for name in names:
            path = _path(folder, settings, name)
            if path is None:
                raise folder.refusal(
                    f"has {part}: '{name}', but {folder.at('/'.join(_components(name)))} holds no images and is no "
                    f'list of them: correct the path, or remove the line',
                    settings['file'],
                )
            found.setdefault(part, []).extend(_images_of(folder, path, strict=not spare))
    return found


def _of_lists(folder: Folder) -> dict[str, list[str]]:
    """Return part -> images as lists such as ``train.txt`` state them."""
    paths = [PurePosixPath(file) for file in folder.files if file.lower().endswith('.txt')]
    lists = [path for path in paths if path.stem in PART_OF and key_of(str(path)) not in folder.images_by_key]
    if any(path.stem == 'train' for path in lists):  # `trainval` holds those of `val` as well
        lists = [path for path in lists if path.stem != 'trainval']
    found: dict[str, list[str]] = {}
    for path in lists:
        found.setdefault(PART_OF[path.stem], []).extend(_images_of(folder, str(path)))
    return found


def _components(path: str) -> list[str]:
    """Return the names in a path of any system."""
    return [part for part in PurePosixPath(path.replace('\\', '/')).parts if part not in ('.', '..', '/')]


def _path(folder: Folder, settings: Mapping[str, Any], name: str) -> str | None:
    """Return the folder or list that ``data.yaml`` names, relative to itself or to the folder's root, or None."""
    root = settings.get('path')
    names = [*(_components(root) if isinstance(root, str) else ()), *_components(name)]
    if not _components(name):
        return ''
    for start in (PurePosixPath(settings['file']).parent.parts, ()):
        for skipped in range(len(names)):
            path = '/'.join([*start, *names[skipped:]])
            if path in folder.files or any(image.startswith(f'{path}/') for image in folder.images):
                return path
    return None


def _images_of(folder: Folder, path: str, strict: bool = True) -> list[str]:
    """Return the images of a folder, or of a list, which may be strict about those that are not there."""
    if path not in folder.files:
        return [image for image in folder.images if not path or image.startswith(f'{path}/')]
    lines = [line for line in folder.read_text(path).splitlines() if line.strip()]
    found = {line: folder.resolve(line, file=path) for line in lines}
    missing = [line for line, image in found.items() if image is None]
    if missing and strict:
        raise folder.refusal(
            f'names {len(missing):,} of {len(lines):,} images that the folder does not hold ({shortened(missing)}): '
            'add them, or remove them from the list',
            path,
        )
    return [image for image in found.values() if image is not None]
