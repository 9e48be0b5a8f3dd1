"""Lists of files and labels, as CSV or text."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.errors import SourceError
from xlearner_mm.layouts.class_folders import Labeled, find_class_folders
from xlearner_mm.layouts.folder import PART_OF, Folder, is_image, part_of_name, place, take_test
from xlearner_mm.layouts.names import find_class_names, names_classes

_SUFFIXES = ('.csv', '.tsv', '.txt')
_MOST_FILES = 50  # more text files are labels of one image each
_PROBED = 50  # rows of a file that are looked at to find the column of images
_LABEL = (
    *('label', 'labels', 'class', 'class_name', 'label_name', 'category', 'target', 'species', 'breed', 'y'),
    *('class_id', 'class id'),
)
_PART = ('split', 'set', 'subset', 'data set', 'partition', 'part')
_FLAG = 'is_valid'
"""Fastai's column of the part."""
_PART_OF_FLAG = {'true': 'val', '1': 'val', 'false': 'train', '0': 'train'}
_FLAGS = {'0', '1', '0.0', '1.0'}
"""Cells of one-hot columns, one for each class."""
_BOXES = ('xmin', 'x_min', 'bbox', 'x1')
"""Columns of lists of boxes, which have a class as well."""
_NUMBERS = re.compile(r'[\d\s.eE+-]+')
"""Numbers behind an image's name, which are the boxes of YOLO or several labels, and no label of several words."""


@dataclass(frozen=True)
class _Table:
    """Rows of a list, with the columns that matter.

    Args:
        file: the list.
        rows: its cells, without those of a header.
        image: column of the images.
        label: column of the labels, or None where the folders of images are the classes.
        part: column of the parts, or None without one.
        part_of: value of that column -> part.
        is_here: whether the folder holds most of the images.
    """

    file: str
    rows: list[list[str]]
    image: int
    label: int | None
    part: int | None
    part_of: Mapping[str, str]
    is_here: bool


def find_lists(folder: Folder) -> Labeled | None:
    """Return the images and classes that lists of a folder state, or None where none names images.

    A list is a CSV file, with a header or as image and label, or a text file of image and label. It is of the part
    that its name or a column of the name ``split`` states. Where neither does, images are of the part that their folder
    is called as, or else for training.

    Raises:
        SourceError: a list that cannot be understood, contradicts another, or names images that are not there.
    """
    files = [file for file in folder.files if file.lower().endswith(_SUFFIXES) and file.count('/') < 2]
    texts = [file for file in files if file.lower().endswith('.txt')]
    if len(texts) > _MOST_FILES:
        files = [file for file in files if file not in set(texts)]
    tables = _of_images_here(folder, [table for file in files if (table := _read(folder, file))])
    stated = [table for table in tables if _part_of(table.file) or table.part is not None]
    unused = [table.file for table in tables if stated and table not in stated]
    folder.note_some('lists that state no part, not used beside those that do', unused)
    tables = stated or tables
    parts: dict[str, dict[str, str]] = {}
    origins: dict[str, str] = {}
    for table in tables:
        for part, images in _images(folder, table).items():
            if part in parts:
                raise folder.refusal(
                    f'has two lists, {origins[part]} and {table.file}, for its part {part!r}; expected one: name them '
                    'by part, such as train.csv and val.csv, or move one away'
                )
            parts[part], origins[part] = images, table.file
    if 'train' not in parts:
        return None
    labeled = [table for table in tables if table.label is not None]
    against = [table.file for table in labeled if _in_class_folders(folder, table) and not _agrees(folder, table)]
    folder.note_some('lists whose labels are taken in place of the class folders', against)
    take_test(folder, parts)
    listed = {image for images in parts.values() for image in images}
    folder.note_some('images in no list, left out', [image for image in folder.images if image not in listed])
    return Labeled('list of files and labels', *_named(folder, parts), origins['train'])


def _part_of(file: str) -> str | None:
    return place(os.path.dirname(file)).part or part_of_name(file)


def _read(folder: Folder, file: str) -> _Table | None:
    """Return the table in a file, or None if it names no images."""
    lines = [line for line in folder.read_text(file).splitlines() if line.strip()]
    if not lines:
        return None
    rows = _rows(folder, lines)
    width = max(map(len, rows), default=0)
    rows = [[*row, *[''] * (width - len(row))] for row in rows]
    probed = rows[1 : _PROBED + 1] or rows
    column = _column_of_images(folder, probed) if width else None
    if column is None:
        return None
    image, is_here = column
    if names_classes(file) and not is_image(probed[0][image]):
        return None
    has_header = len(rows) > 1 and not is_image(rows[0][image]) and not folder.candidates(rows[0][image])
    header = [name.lower() for name in rows[0]] if has_header else []
    if set(header) & set(_BOXES):
        return None
    part = next((header.index(name) for name in (*_PART, _FLAG) if name in header), None)
    columns = [c for c in range(width) if c not in (image, part)]
    named = [header.index(name) for name in _LABEL if name in header and header.index(name) in columns]
    label = [*named, *columns, None][0]
    part_of = _PART_OF_FLAG if part is not None and header[part] == _FLAG else PART_OF
    table = _Table(file, rows[has_header:], image, label, part, part_of, is_here)
    return table if named or not is_here else _without_named_label(folder, table, columns, rows[0] if header else [])


def _column_of_images(folder: Folder, rows: Sequence[Sequence[str]]) -> tuple[int, bool] | None:
    """Return the column that names images, and whether the folder holds most of them; None without such a column."""
    columns = range(len(rows[0]))
    found = [sum(_names_image(folder, row[c]) for row in rows) for c in columns]
    image = max(columns, key=found.__getitem__)
    if 2 * found[image] >= len(rows):
        return image, True
    named = [c for c in columns if all(is_image(row[c]) for row in rows)]
    return (named[0], False) if named else None


def _of_images_here(folder: Folder, tables: Sequence[_Table]) -> list[_Table]:
    """Return the tables whose images the folder holds; the others are noted beside such, or beside class folders.

    Raises:
        SourceError: there is neither, and one states labels.
    """
    here = [table for table in tables if table.is_here]
    others = [table for table in tables if not table.is_here]
    labeled = next((table for table in others if table.label is not None), None)
    if labeled is not None and not here:
        classes = find_class_folders(replace(folder, notes=[]))  # what it notes is noted when they are read
        if classes is None or len(set(classes.parts['train'].values())) < 2:
            names = [row[labeled.image] for row in labeled.rows]
            raise _missing(folder, labeled, [name for name in names if not folder.candidates(name)])
    folder.note_some('lists not used, as most of their images are not in the folder', [each.file for each in others])
    return here


def _without_named_label(folder: Folder, table: _Table, columns: Sequence[int], header: list[str]) -> _Table | None:
    """Return a table without a column called label if its labels are clear all the same, or None for one to leave.

    Raises:
        SourceError: it may be the only one with labels, and does not say where they are.
    """
    if not columns:
        return table if _in_folders(folder, table) else None
    alone = len(columns) == 1
    if _in_class_folders(folder, table) or (not alone and _in_folders(folder, table)):
        if alone and _agrees(folder, table):
            return table
        folder.notes.append(f'{table.file} is not used: it has no column called label, and there are class folders')
        return None
    measured = header and all(_NUMBERS.fullmatch(row[columns[0]]) for row in table.rows[:_PROBED])
    if alone and not measured:
        return table
    cells = [row[c] for row in table.rows[:_PROBED] for c in columns]
    if header and not alone and set(cells) <= _FLAGS:
        raise folder.refusal(
            f'has a column of 0 and 1 for each class ({shortened([header[c] for c in columns])}), one-hot; expected '
            "one column called 'label' that holds the class's name: write it, or move the file away",
            table.file,
        )
    stated = f'columns {header}' if header else f'{len(columns) + 1} columns and no header'
    raise folder.refusal(
        f"has {stated}; expected one called 'label' beside that of the images: name it so, or move the file away",
        table.file,
    )


def _rows(folder: Folder, lines: Sequence[str]) -> list[list[str]]:
    """Return the cells of a file's lines; none for one that is no table."""
    delimiter = max(',;\t', key=lines[0].count)
    if delimiter not in lines[0]:
        return [_cells(folder, line) for line in lines]
    with suppress(csv.Error):  # bytes of another kind of file
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    return []


def _cells(folder: Folder, line: str) -> list[str]:
    """Return the cells of a line without delimiter: the longest name of an image that it begins with, and the label.

    A name is that of an image in the folder, or else ends as one.
    """
    line = line.strip()
    if folder.candidates(line):
        return [line]
    spaces = list(re.finditer(r'\s+', line))
    for is_here in (True, False):
        for space in reversed(spaces):
            image, label = line[: space.start()], line[space.end() :]
            if (folder.candidates(image) if is_here else is_image(image)) and not _NUMBERS.fullmatch(label):
                return [image, label]
    return line.rsplit(maxsplit=1)


def _names_image(folder: Folder, cell: str) -> bool:
    """Return whether a cell names an image; a name without suffix, such as a number, does so of one of each part."""
    found = folder.candidates(cell)
    return bool(found) and (
        is_image(cell) or len({place(os.path.dirname(image)).part for image in found}) == len(found)
    )


def _in_folders(folder: Folder, table: _Table) -> bool:
    """Return whether images of a table are in folders that may be classes."""
    found = {candidate for row in table.rows[:_PROBED] for candidate in folder.candidates(row[table.image])}
    return any(not _is_of_part(os.path.dirname(path)) for path in found)


def _in_class_folders(folder: Folder, table: _Table) -> bool:
    """Return whether images of a table are in folders that may be classes, one beside another."""
    found = {os.path.dirname(image) for row in table.rows for image in folder.candidates(row[table.image])}
    above = {os.path.dirname(path) for path in found if not _is_of_part(path)}
    all_folders = {os.path.dirname(image) for image in folder.images} if above else set()
    beside = Counter(os.path.dirname(path) for path in all_folders if not _is_of_part(path))
    return any(beside[path] > 1 for path in above)


def _agrees(folder: Folder, table: _Table) -> bool:
    """Return whether several class folders and the labels of a table are the same but for their names."""
    part = _part_of(table.file)
    pairs = set()
    for row in table.rows:
        found = folder.candidates(row[table.image], part)
        if len(found) == 1:
            name = os.path.basename(os.path.dirname(found[0]))
            pairs.add((name, name if table.label is None else row[table.label]))
    names, labels = ({pair[side] for pair in pairs} for side in (0, 1))
    return 1 < len(pairs) == len(names) == len(labels)


def _is_of_part(path: str) -> bool:
    """Return whether no folder of a path can be a class."""
    found = place(path)
    return not found.rest.removesuffix(found.part or '').strip('/')


def _images(folder: Folder, table: _Table) -> dict[str, dict[str, str]]:
    """Return part -> image -> label of a table; all images are for training where their folders leave none for it."""
    of_file = _part_of(table.file)
    parts: dict[str, dict[str, str]] = {}
    missing, unlabeled = [], []
    for row in table.rows:
        stated = _stated_part(folder, table, row) or of_file
        image = folder.resolve(row[table.image], stated or 'train', table.file)
        if image is None:
            missing.append(row[table.image])
            continue
        part = stated or place(os.path.dirname(image)).part or 'train'
        label = os.path.basename(os.path.dirname(image)) if table.label is None else row[table.label]
        if not label:
            unlabeled.append(image)
        elif parts.setdefault(part, {}).setdefault(image, label) != label:
            raise folder.refusal(
                f"gives {image} two labels, '{parts[part][image]}' and '{label}'; expected one: remove the wrong one",
                table.file,
            )
    if missing:
        raise _missing(folder, table, missing)
    folder.note_some(f'images without label in {table.file}, left out', unlabeled)
    if table.part is None and of_file is None and 'train' not in parts:
        return {'train': {image: label for images in parts.values() for image, label in images.items()}}
    return parts


def _missing(folder: Folder, table: _Table, names: Sequence[str]) -> SourceError:
    """Return the error of a list of images that the folder does not hold, or holds with other suffixes."""
    renamed = folder.candidates(os.path.splitext(names[0])[0])
    fix = f'correct the suffixes, as in {renamed[0]}, or ' if renamed else ''
    return folder.refusal(
        f'names {len(names):,} of {len(table.rows):,} images that the folder does not hold ({shortened(names)}): '
        f'{fix}add them, or remove them from the file',
        table.file,
    )


def _stated_part(folder: Folder, table: _Table, row: Sequence[str]) -> str | None:
    if table.part is None:
        return None
    stated = row[table.part]
    if stated.lower() not in table.part_of:
        raise folder.refusal(f"states the part '{stated}'; expected one of {', '.join(table.part_of)}", table.file)
    return table.part_of[stated.lower()]


def _named(
    folder: Folder, parts: dict[str, dict[str, str]]
) -> tuple[dict[str, dict[str, str]], dict[str, str], tuple[str, ...] | None]:
    """Return the parts with labels as names, no class folders, and the order of numbered classes."""
    labels = set(parts['train'].values())
    if not all(label.isdecimal() for images in parts.values() for label in images.values()):
        return parts, {}, None
    numbers = sorted(map(int, labels))
    stated = find_class_names(folder)
    if stated is None:
        return parts, {}, tuple(sorted(labels, key=int))
    unnamed = [number for number in numbers if number not in stated.names]
    if unnamed:
        raise folder.refusal(
            f'names {len(stated.names)} classes, numbered {min(stated.names)} to {max(stated.names)}, but the lists '
            f'have label {unnamed[-1]}: add the missing names',
            stated.file,
        )
    folder.note_some(
        f'classes of {stated.file} without images', [n for i, n in stated.names.items() if i not in numbers]
    )
    named = {
        part: {image: stated.names.get(int(label), label) for image, label in images.items()}
        for part, images in parts.items()
    }
    return named, {}, tuple(stated.names[number] for number in numbers)
