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
        found_place = place(top)
        if found_place.part and not found_place.role:
            parts.setdefault(found_place.part, []).append(top)
    if 'train' in parts and (found := _in_parts(folder, parts, tops)):
        return found
    roots = [f'{top}/' for top in tops if place(top).role == 'image']
    named = [top for top in tops if place(top).role or place(top).part]
    if len(roots) > 1 or len(parts) > 1 or (not roots and len(named) == len(tops)):
        return None
    root = ''.join(roots)
    images = {image: image.removeprefix(root) for image in folder.images if image.startswith(root)}
    classes = {image: below.split('/')[0] for image, below in images.items() if '/' in below}
    if not classes:
        return None
    folder.note_some('images in no class folder, left out', [image for image in folder.images if image not in classes])
    return Labeled('class folders', {'train': classes}, {'train': root.rstrip('/')})


def _in_parts(folder: Folder, parts: dict[str, list[str]], tops: set[str]) -> Labeled | None:
    """Return the images of class folders below folders for training and validation."""
    labeled, folders, loose = {}, {}, {}
    for part, names in parts.items():
        if len(names) > 1:
            raise folder.refusal(f'has {names}, all called as its part {part!r}; expected one: rename the others')
        inside = [image for image in folder.images if image.startswith(f'{names[0]}/')]
        labeled[part] = {image: image.split('/')[1] for image in inside if image.count('/') > 1}
        folders[part], loose[part] = names[0], [image for image in inside if image.count('/') < 2]
    if all(place(name).role for name in labeled['train'].values()):  # folders of images and labels, or no folders
        return None
    for part, images in loose.items():
        folder.note_some(f'images of {folders[part]}/ in no class folder, left out', images)
    labeled = {part: images for part, images in labeled.items() if images}
    take_test(folder, labeled)
    folder.note_some('folders beside train/, not used', sorted(tops - set(folders.values())))
    return Labeled('class folders', labeled, {**folders, 'val': folders.get('val', folders.get('test', ''))})
