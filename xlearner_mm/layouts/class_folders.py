"""Class folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xlearner_mm.datasets.classes import shortened, stray_names
from xlearner_mm.layouts.folder import Folder, place, take_test


@dataclass
class Labeled:
    """Images with the names of their classes.

    Args:
        kind: of the layout.
        parts: part -> image -> class.
        folders: part -> folder whose subfolders are the classes, which a stock dataset may read as it is.
        classes: names in label order. Defaults to None: the classes of the training part, sorted.
        file: list of the training images. Defaults to '': folders.
    """

    kind: str
    parts: dict[str, dict[str, str]]
    folders: dict[str, str]
    classes: tuple[str, ...] | None = None
    file: str = ''


def find_class_folders(folder: Folder) -> Labeled | None:
    """Return the images of class folders, or None where the folders are not classes.

    The parts or classes may be below a folder of images, or below the only folder with images.

    Raises:
        SourceError: two folders of one part, or folders of parts in some classes alone.
    """
    tops = _folders(folder, '')
    alone = [f'{top}/' for top in tops if len(tops) == 1 and _folders(folder, f'{top}/')]
    images = [f'{top}/' for top in tops if place(top).role == 'image'] or alone
    for root in ['', *images[:1]]:
        found = _in_parts(folder, root)
        if found is not None:
            return found
    root = ''.join(images[:1])
    names = _folders(folder, root)
    if len(images) > 1 or len(_parts_among(tops)) > 1 or len(_parts_among(names)) > 1:
        return None
    if all(place(name).role or place(name).part for name in names):  # folders of images, labels or parts
        return None
    paths = {image: image.removeprefix(root) for image in folder.images if image.startswith(root)}
    classes = {image: below.split('/')[0] for image, below in paths.items() if '/' in below}
    _note_without_images(folder, root.rstrip('/'))
    folder.note_some('images in no class folder, left out', [image for image in folder.images if image not in classes])
    return _with_parts_inside(folder, classes, paths) or Labeled(
        'class folders', {'train': classes}, {'train': root.rstrip('/')}
    )


def _folders(folder: Folder, root: str) -> list[str]:
    """Return the names of the folders with images right below one, which ends in a slash or is ''."""
    below = (image.removeprefix(root) for image in folder.images if image.startswith(root))
    return sorted({path.split('/')[0] for path in below if '/' in path})


def _note_without_images(folder: Folder, root: str) -> None:
    """Note the folders right below one that hold no image, and so are no classes."""
    found = sorted(entry.name for entry in os.scandir(folder.at(root)) if entry.is_dir())
    filled, stray = _folders(folder, f'{root}/' if root else ''), stray_names(found)
    without = [name for name in found if name not in filled and name not in stray]
    folder.note_some(f'folders of {root or "."}/ without an image that is read, no classes', without)


def _parts_among(names: Iterable[str]) -> dict[str, list[str]]:
    """Return part -> the folders that are called as it."""
    parts: dict[str, list[str]] = {}
    for name in names:
        found = place(name)
        if found.part and not found.role:
            parts.setdefault(found.part, []).append(name)
    return parts


def _in_parts(folder: Folder, root: str) -> Labeled | None:
    """Return the images of class folders below folders for training and validation, or None without such."""
    names = _folders(folder, root)
    parts = _parts_among(names)
    if 'train' not in parts:
        return None
    labeled, folders, loose = {}, {}, {}
    for part, of_part in parts.items():
        if len(of_part) > 1:
            raise folder.refusal(f'has {of_part}, all called as its part {part!r}; expected one: rename the others')
        folders[part] = root + of_part[0]
        inside = [image for image in folder.images if image.startswith(f'{folders[part]}/')]
        below = {image: image.removeprefix(f'{folders[part]}/') for image in inside}
        labeled[part] = {image: path.split('/')[0] for image, path in below.items() if '/' in path}
        loose[part] = [image for image in inside if image not in labeled[part]]
    if all(place(name).role for name in labeled['train'].values()):  # folders of images and labels, or no folders
        return None
    for part, images in loose.items():
        folder.note_some(f'images of {folders[part]}/ in no class folder, left out', images)
        _note_without_images(folder, folders[part])
    labeled = {part: images for part, images in labeled.items() if images}
    take_test(folder, labeled)
    unused = {root + name for name in names} - set(folders.values())
    unused |= {top for top in _folders(folder, '') if root and f'{top}/' != root}
    folder.note_some(f'folders beside {folders["train"]}/, not used', sorted(unused))
    return Labeled('class folders', labeled, {**folders, 'val': folders.get('val', folders.get('test', ''))})


def _with_parts_inside(folder: Folder, classes: Mapping[str, str], paths: Mapping[str, str]) -> Labeled | None:
    """Return the images of class folders that hold the folders of parts, or None without such."""
    inside = {
        image: place(paths[image].split('/')[1]).part if paths[image].count('/') > 1 else None for image in classes
    }
    if not {'train'} < set(inside.values()) - {None}:
        return None
    beside = [image for image, part in inside.items() if part is None]
    if beside:
        apart = next(image for image, part in inside.items() if part == 'train')
        raise folder.refusal(
            f'has images in folders of parts within its classes ({apart}), but {len(beside):,} beside such '
            f'({shortened(beside)}): put all into parts, such as train/CLASS and val/CLASS'
        )
    parts: dict[str, dict[str, str]] = {}
    for image, part in inside.items():
        parts.setdefault(str(part), {})[image] = classes[image]
    take_test(folder, parts)
    return Labeled('class folders', parts, {})
