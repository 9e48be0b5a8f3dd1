"""VOC's XML files."""

from __future__ import annotations

import os
from xml.etree import ElementTree

import numpy as np

from xlearner_mm.layouts.boxes import Annotated, Boxes
from xlearner_mm.layouts.folder import Folder, key_of, place
from xlearner_mm.layouts.image_sets import listed_parts
from xlearner_mm.layouts.sampling import shown_sizes

_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def find_voc(folder: Folder) -> Boxes | None:
    """Return the boxes of a folder's VOC files, or None where it has none."""
    files = [file for file in folder.files if file.lower().endswith('.xml')]
    trees = {file: tree for file in files if (tree := _parse(folder, file)) is not None}
    if not trees:
        return None
    images = {file: image for file, tree in trees.items() if (image := _image_of(folder, file, tree))}
    folder.note_some('label files without image, left out', [file for file in trees if file not in images])
    labeled = set(images.values())
    folder.note_some('images without label file, left out', [i for i in folder.pictures if i not in labeled])
    sizes = {file: size for file in images if (size := _stated_size(trees[file]))}
    silent = [file for file in images if file not in sizes]
    sizes |= dict(zip(silent, shown_sizes(folder, [images[file] for file in silent]), strict=True))
    parts: dict[str, list[Annotated]] = {}
    for file, part in _parts(folder, list(images)).items():
        parts.setdefault(part, []).append(_annotated(folder, file, trees[file], images[file], sizes[file]))
    classes = {name for annotated in parts.values() for each in annotated for name in each.names}
    return Boxes('VOC', parts, tuple(sorted(classes)))


def _parse(folder: Folder, file: str) -> ElementTree.Element | None:
    """Return the top element of a VOC file, or None for XML of another kind."""
    try:
        top = ElementTree.parse(folder.at(file)).getroot()
    except ElementTree.ParseError as error:
        raise folder.refusal(f'is not XML: {error}; correct or remove it', file) from error
    return top if top.tag == 'annotation' else None


def _image_of(folder: Folder, file: str, tree: ElementTree.Element) -> str | None:
    """Return the image beside a file or in the folder of images, or else the one that the file names."""
    found = folder.images_by_key.get(key_of(file))
    return found or folder.resolve(tree.findtext('filename', ''), place(os.path.dirname(file)).part, file)


def _stated_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    width, height = (tree.findtext(f'size/{side}', '0').strip() for side in ('width', 'height'))
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() and int(width) * int(height) else None


def _parts(folder: Folder, files: list[str]) -> dict[str, str]:
    """Return file -> part of the files with images."""
    listed = listed_parts(folder, 'Main', files, 'label files', 'no image or no label file')
    if listed is None:
        return {file: place(os.path.dirname(file)).part or 'train' for file in files}
    return listed


def _annotated(folder: Folder, file: str, tree: ElementTree.Element, image: str, size: tuple[int, int]) -> Annotated:
    boxes, names, ignored = [], [], []
    for found in tree.findall('object'):
        name = found.findtext('name', '').strip()
        try:
            # As mmdet reads VOC, whose pixels count from 1.
            x1, y1, x2, y2 = (int(float(found.findtext(f'bndbox/{side}', ''))) - 1 for side in _SIDES)
        except (ValueError, OverflowError) as error:  # no number, or an infinite one
            raise folder.refusal(
                f"has an object '{name}' without a box of {_SIDES}: correct or remove it", file
            ) from error
        if not name:
            raise folder.refusal('has an object without a name: correct or remove it', file)
        boxes.append((x1, y1, x2 - x1, y2 - y1))
        names.append(name)
        ignored.append(found.findtext('difficult', '0').strip() == '1')
    return Annotated(image, size, np.array(boxes, float).reshape(-1, 4), names, ignored, folder.at(file))
