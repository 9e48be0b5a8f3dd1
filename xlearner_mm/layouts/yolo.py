"""YOLO's text files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from xlearner_mm.layouts.boxes import Annotated, Boxes
from xlearner_mm.layouts.folder import Folder, key_of, place
from xlearner_mm.layouts.names import ClassNames, check_names, find_class_names
from xlearner_mm.layouts.sampling import shown_sizes
from xlearner_mm.layouts.yolo_parts import find_parts

_BOX = 5  # cells of a row: class, x, y, width and height
_TOLERANCE = 1e-3  # of relative coordinates, for rounding


def find_yolo(folder: Folder) -> Boxes | None:
    """Return the boxes of a folder's YOLO files, or None where it has none."""
    texts = [file for file in folder.files if file.lower().endswith('.txt')]
    labels = {file: image for file in texts if (image := folder.images_by_key.get(key_of(file)))}
    rows = {file: [line.split() for line in folder.read_text(file).splitlines() if line.strip()] for file in labels}
    if not _is_yolo(list(rows.values())):
        return None
    labeled = set(labels.values())
    alone = [file for file in texts if file not in labels and place(os.path.dirname(file)).role == 'label']
    folder.note_some('label files without image, left out', alone)
    folder.note_some('images without label file, left out', [i for i in folder.pictures if i not in labeled])
    settings = _settings(folder)
    rows = _without_keypoints(folder, settings, rows)
    names = _names(folder, settings, rows)
    part_of = find_parts(folder, settings, list(labels.values()))
    labels = {file: image for file, image in labels.items() if image in part_of}
    sizes = shown_sizes(folder, list(labels.values()))
    parts: dict[str, list[Annotated]] = {}
    for (file, image), size in zip(labels.items(), sizes, strict=True):
        parts.setdefault(part_of[image], []).append(_annotated(folder, file, rows[file], image, size, names))
    return Boxes('YOLO', parts, tuple(names.names.values()))


def _is_yolo(files: Sequence[list[list[str]]]) -> bool:
    """Return whether some row is that of a box, wrong rows before it or not, or the first one has numbers alone."""
    rows = [row for lines in files for row in lines]
    return any(all(map(_is_number, row)) and (index == 0 or len(row) >= _BOX) for index, row in enumerate(rows))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _settings(folder: Folder) -> dict[str, Any]:
    """Return the content of ``data.yaml``, or of a file like it, with its name as ``file``; empty without one."""
    files = [file for file in folder.files if file.lower().endswith(('.yaml', '.yml')) and file.count('/') < 2]
    for file in sorted(files, key=lambda file: (file.count('/'), not file.startswith('data.'), file)):
        try:
            content = yaml.safe_load(folder.read_text(file))
        except yaml.YAMLError as error:
            raise folder.refusal(f'is not YAML: {error}; correct or remove it', file) from error
        if isinstance(content, Mapping) and 'names' in content:
            return {**content, 'file': file}
    return {}


def _without_keypoints(
    folder: Folder, settings: Mapping[str, Any], rows: dict[str, list[list[str]]]
) -> dict[str, list[list[str]]]:
    """Return rows without the keypoints that ``kpt_shape`` announces: they would look like the points of a polygon."""
    shape = settings.get('kpt_shape')
    if shape is None:
        return rows
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(each) is int and each > 0 for each in shape):
        raise folder.refusal(
            f'has kpt_shape: {shape!r}; expected the number of keypoints and of values of each, as [17, 3]: correct it',
            settings['file'],
        )
    cells = _BOX + shape[0] * shape[1]
    for file, lines in rows.items():
        for number, row in enumerate(lines, start=1):
            if len(row) not in (_BOX, cells):
                raise folder.refusal(
                    f'has {len(row)} values in line {number}; expected {cells} by kpt_shape: {shape} of '
                    f'{settings["file"]}, or {_BOX} without keypoints: correct the line or kpt_shape',
                    file,
                )
    folder.notes.append(f'kpt_shape: {shape} of {settings["file"]}: boxes are read, keypoints are not')
    return {file: [row[:_BOX] for row in lines] for file, lines in rows.items()}


def _names(folder: Folder, settings: Mapping[str, Any], rows: Mapping[str, list[list[str]]]) -> ClassNames:
    """Return the names that ``data.yaml`` or a list of names states, or else numbers up to the highest one found."""
    if settings:
        stated, file = settings['names'], settings['file']
        pairs = dict(stated if isinstance(stated, Mapping) else enumerate(stated) if isinstance(stated, list) else ())
        if not pairs or not all(str(number).isdecimal() for number in pairs):
            raise folder.refusal(f'has names: {stated!r}; expected a list, or numbers and names: correct it', file)
        wrong = [name for name in pairs.values() if isinstance(name, bool) or not isinstance(name, str | int | float)]
        if wrong:
            raise folder.refusal(
                f'has the class name {wrong[0]!r} in names; expected text: put names in quotes, as YAML takes yes, no '
                'and null for other values',
                file,
            )
        names = {int(number): str(name) for number, name in pairs.items()}
        if str(settings.get('nc', len(names))) != str(len(names)):
            raise folder.refusal(f'states nc: {settings["nc"]}, but {len(names)} names: correct one of them', file)
        return ClassNames(file, check_names(folder, file, names))
    found = find_class_names(folder)
    if found is not None:
        return found
    numbers = [int(row[0]) for lines in rows.values() for row in lines if row[0].isdecimal()]
    folder.notes.append('no file names its classes: they are called by number; a classes.txt names them')
    return ClassNames('', {number: f'class {number}' for number in range(max(numbers, default=-1) + 1)})


def _annotated(
    folder: Folder, file: str, rows: list[list[str]], image: str, size: tuple[int, int], names: ClassNames
) -> Annotated:
    boxes, found = [], []
    for number, row in enumerate(rows, start=1):
        if not all(map(_is_number, row)) or (len(row) != _BOX and (len(row) < 7 or len(row) % 2 == 0)):
            raise folder.refusal(
                f"has '{' '.join(row[:8])}' in line {number}; expected class, x, y, width and height, or class and the "
                'points of a polygon: correct the line',
                file,
            )
        label, *values = map(float, row)
        if label not in names.names:
            raise folder.refusal(
                f'has class {row[0]} in line {number}, but {names.file or "its list of names"} names '
                f'{len(names.names)} classes, {min(names.names)} to {max(names.names)}: add the name, or correct the '
                'line',
                file,
            )
        if not -_TOLERANCE <= min(values) <= max(values) <= 1 + _TOLERANCE:
            wrong = next(value for value in values if not -_TOLERANCE <= value <= 1 + _TOLERANCE)
            raise folder.refusal(
                f'has the coordinate {wrong:g} in line {number}; expected shares of the width and height of the image, '
                f'from 0 to 1: divide x and width by {size[0]}, y and height by {size[1]}',
                file,
            )
        boxes.append(_box(values))
        found.append(names.names[int(label)])
    scaled = np.array(boxes, float).reshape(-1, 4) * [*size, *size]
    return Annotated(image, size, scaled, found, [False] * len(found), folder.at(file))


def _box(values: list[float]) -> tuple[float, float, float, float]:
    """Return x, y, width and height of a box given by its center, or of the one around a polygon."""
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, width, height
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
