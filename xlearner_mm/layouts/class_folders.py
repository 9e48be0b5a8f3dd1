"""Class folders."""

from __future__ import annotations

from dataclasses import dataclass

from xlearner_mm.layouts.folder import Folder, place, take_test


@dataclass
class Labeled:
    """Images with the names of their classes.

    Args:
        kind: of the layout.
        parts: part -> image -> class.
        folders: part -> folder whose subfolders are the classes, which a stock dataset may read as it is.
        classes: names in label order. Defaults to None: the classes of the training part, sorted.
    """

    kind: str
    parts: dict[str, dict[str, str]]
    folders: dict[str, str]
    classes: tuple[str, ...] | None = None


def find_class_folders(folder: Folder) -> Labeled | None:
    """Return the images of class folders, or None where the folders are not classes."""
    tops = {image.split('/')[0] for image in folder.images if '/' in image}
    parts: dict[str, list[str]] = {}
    for top in sorted(tops):
        found = place(top)
        if found.part and not found.rest.removesuffix(found.part):
            parts.setdefault(found.part, []).append(top)
    if 'train' in parts and len(tops) > len(parts['train']):
        return _in_parts(folder, parts, tops)
    named = [top for top in tops if place(top).role or place(top).part]
    if not tops or len(named) == len(tops):
        return None
    images = {image: image.split('/')[0] for image in folder.images if '/' in image}
    folder.note_some('images in no class folder are left out', [image for image in folder.images if '/' not in image])
    return Labeled('class folders', {'train': images}, {'train': ''})


def _in_parts(folder: Folder, parts: dict[str, list[str]], tops: set[str]) -> Labeled | None:
    """Return the images of class folders below folders for training and validation."""
    labeled, folders = {}, {}
    for part, names in parts.items():
        if len(names) > 1:
            raise folder.refusal(
                f'has {names}, which all seem to be its part {part!r}; expected one: rename the others'
            )
        inside = [image for image in folder.images if image.startswith(f'{names[0]}/')]
        labeled[part] = {image: image.split('/')[1] for image in inside if image.count('/') > 1}
        folders[part] = names[0]
        folder.note_some(
            f'images in {names[0]}/ are in no class folder and left out', [i for i in inside if i.count('/') < 2]
        )
    if not labeled['train']:
        return None
    labeled = {part: images for part, images in labeled.items() if images}
    take_test(folder, labeled)
    folder.note_some('folders beside train/ are not used', sorted(tops - set(folders.values())))
    return Labeled('class folders', labeled, {**folders, 'val': folders.get('val', folders.get('test', ''))})
