"""COCO files."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xlearner_mm.datasets.classes import labels_of_categories, shortened
from xlearner_mm.datasets.integrity.annotations import refuse_lost_images
from xlearner_mm.layouts.boxes import Annotated, Boxes
from xlearner_mm.layouts.folder import Folder, part_of_name, place
from xlearner_mm.layouts.sampling import shown_sizes

_OTHER = ('captions', 'person_keypoints', 'image_info', 'panoptic', 'stuff')
"""First words of files of other labels in COCO's own folder."""


_REQUIRED = {
    'images': {'id': int | float | str, 'file_name': str},
    'categories': {'id': int | float | str, 'name': int | float | str},
    'annotations': {'image_id': int | float | str, 'category_id': int | float | str, 'bbox': object},
}
"""Kind of entries -> key -> its types."""
_SIZE = dict.fromkeys(('width', 'height'), int | float | None)


def find_coco(folder: Folder) -> Boxes | None:
    """Return the boxes of a folder's COCO files, or None where it has none."""
    parts: dict[str, list[Annotated]] = {}
    stock: dict[str, tuple[str, str]] = {}
    files: dict[str, str] = {}
    classes: dict[str, None] = {}
    for file in coco_files(folder):
        content = _read(folder, file)
        if content is None:
            continue
        part = place(os.path.dirname(file)).part or part_of_name(file) or 'train'
        if part in files:
            raise folder.refusal(
                f'has two COCO files, {files[part]} and {file}, for its part {part!r}; expected one: name them by '
                'part, such as train.json and val.json, or move one away'
            )
        files[part] = file
        classes |= dict.fromkeys(category['name'] for category in content['categories'])
        parts[part], prefix = _annotated(folder, file, part, content)
        _refuse_corners(folder, file, parts[part])
        if prefix is not None:
            stock[part] = file, prefix
    if not files:
        return None
    listed = {each.image for images in parts.values() for each in images}
    folder.note_some('images in no COCO file, left out', [image for image in folder.pictures if image not in listed])
    return Boxes('COCO', parts, tuple(classes), stock)


def coco_files(folder: Folder) -> list[str]:
    """Return the JSON files that may hold boxes."""
    return [
        file
        for file in folder.files
        if file.lower().endswith('.json') and not file.rsplit('/', 1)[-1].lower().startswith(_OTHER)
    ]


def _read(folder: Folder, file: str) -> dict[str, Any] | None:
    """Return the content of a COCO file, or None for JSON of another kind."""
    try:
        content = json.loads(folder.read_text(file))
    except ValueError as error:
        raise folder.refusal(f'is not JSON: {error}; correct or remove it', file) from error
    if not isinstance(content, Mapping) or 'images' not in content or 'categories' not in content:
        return None
    _check(folder, file, content)
    return dict(content)


def _check(folder: Folder, file: str, content: Mapping[str, Any]) -> None:
    """Raise a SourceError for a file that lacks what boxes need."""
    for kind, keys in _REQUIRED.items():
        entries = content.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(each, Mapping) for each in entries):
            raise folder.refusal(f'has {kind} that are no list of objects; expected one: correct the file', file)
        lacking = next((each for each in entries if not keys.keys() <= each.keys()), None)
        if lacking is not None:
            missing = sorted(keys.keys() - lacking.keys())
            raise folder.refusal(f'has {kind} without {missing}, such as {lacking}; add them', file)
        types = {**keys, **_SIZE} if kind == 'images' else keys
        wrong = next(
            ((each, key) for each in entries for key in types if not isinstance(each.get(key), types[key])), None
        )
        if wrong is not None:
            each, key = wrong
            expected = 'a number' if key in _SIZE else 'text' if key == 'file_name' else 'a number or text'
            raise folder.refusal(f'has {kind} with {key} {each[key]!r}; expected {expected}: correct it', file)
    try:
        refuse_lost_images(content, annotated=True)
        labels_of_categories(content['categories'], [category['name'] for category in content['categories']])
    except ValueError as error:
        raise folder.refusal(f'{error}; expected a COCO file with boxes', file) from error
    wrong = next((each for each in content['annotations'] if not _is_box(each['bbox'])), None)
    if wrong is not None:
        raise folder.refusal(f'has the bbox {wrong["bbox"]}; expected x, y, width and height: correct it', file)


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(value, int | float) for value in box)


def _annotated(folder: Folder, file: str, part: str, content: Mapping[str, Any]) -> tuple[list[Annotated], str | None]:
    """Return a file's images, and the folder in which a stock dataset finds them, or None."""
    names = {category['id']: category['name'] for category in content['categories']}
    objects = defaultdict(list)
    for found in content['annotations']:
        if found['category_id'] not in names:
            _refuse_other_type(folder, file, 'category_id', found['category_id'], names)
            raise folder.refusal(f'has an object of category {found["category_id"]!r}, which it does not define', file)
        objects[found['image_id']].append(found)
    named = [entry['file_name'] for entry in content['images']]
    paths = {name: path for name in named if (path := folder.resolve(name, part, file))}
    missing = [name for name in named if name not in paths]
    if missing:
        raise folder.refusal(
            f'names {len(missing):,} of {len(named):,} images that the folder does not hold ({shortened(missing)}): '
            'add them, or remove them from the file',
            file,
        )
    sizes = _sizes(folder, content, paths)
    images = []
    for entry in content['images']:
        found = objects.pop(entry['id'], [])
        boxes = np.array([each['bbox'] for each in found], float).reshape(-1, 4)
        images.append(
            Annotated(
                paths[entry['file_name']],
                sizes[entry['file_name']],
                boxes,
                [names[each['category_id']] for each in found],
                [bool(each.get('iscrowd')) for each in found],
                file,
            )
        )
    if objects:
        _refuse_other_type(folder, file, 'image_id', next(iter(objects)), [entry['id'] for entry in content['images']])
        raise folder.refusal(f'has objects of {len(objects):,} images that it does not list: add these images', file)
    prefixes = {path.removesuffix(name) if path.endswith(name) else None for name, path in paths.items()}
    prefix = prefixes.pop() if len(prefixes) == 1 and _is_complete(content) else None
    return images, prefix


def _refuse_corners(folder: Folder, file: str, images: Sequence[Annotated]) -> None:
    """Raise a SourceError if most boxes leave their image, and all but 1% fit into it as the corners x1, y1, x2, y2."""
    owners = [each for each in images for _ in each.names]
    boxes = np.concatenate([np.empty((0, 4)), *(each.boxes for each in images)])
    sizes = np.array([each.size for each in owners]).reshape(-1, 2) + 1  # a pixel, for rounding
    leaves = (boxes[:, :2] + boxes[:, 2:] > sizes).any(axis=1)
    fits = ((boxes[:, :2] < boxes[:, 2:]) & (boxes[:, 2:] <= sizes)).all(axis=1)
    if 2 * leaves.sum() <= len(boxes) or fits.mean() < 0.99:
        return
    first = int((leaves & fits).argmax())
    box, (width, height) = ', '.join(f'{value:g}' for value in boxes[first]), owners[first].size
    raise folder.refusal(
        f'has {leaves.sum():,} of {len(boxes):,} boxes that leave their images, such as [{box}] in '
        f'{owners[first].image} of {width} x {height} pixels, and look like corners (x1, y1, x2, y2); expected x, y, '
        'width and height: write x2 - x1 and y2 - y1 in place of x2 and y2',
        file,
    )


def _refuse_other_type(folder: Folder, file: str, key: str, stated: Any, ids: Iterable[Any]) -> None:
    """Raise a SourceError if one of the ids is the same but for its type: 1 and '1' are two ids."""
    same = next((each for each in ids if str(each) == str(stated)), None)
    if same is not None:
        kinds = ['text' if isinstance(each, str) else 'a number' for each in (stated, same)]
        raise folder.refusal(
            f'has an annotation whose {key} is {kinds[0]}, {stated!r}, where the id is {kinds[1]}, {same!r}; expected '
            'the same type: write both as numbers',
            file,
        )


def _is_complete(content: Mapping[str, Any]) -> bool:
    """Return whether a file has what mmdet and pycocotools read beside the boxes: sizes, areas, ids, crowds."""
    ids = {each['id'] for each in content['annotations'] if isinstance(each.get('id'), int)}
    return (
        len(ids) == len(content['annotations'])
        and all(isinstance(each.get('area'), int | float) and 'iscrowd' in each for each in content['annotations'])
        and all(entry.get('width') and entry.get('height') for entry in content['images'])
    )


def _sizes(folder: Folder, content: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Return width and height of each image, read from its header where the file does not state them."""
    stated = {
        entry['file_name']: (entry['width'], entry['height'])
        for entry in content['images']
        if entry.get('width') and entry.get('height')
    }
    silent = [name for name in paths if name not in stated]
    return stated | dict(zip(silent, shown_sizes(folder, [paths[name] for name in silent]), strict=True))
