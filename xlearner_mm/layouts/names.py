"""Files of class names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xlearner_mm.layouts.folder import Folder, is_image

_FILES = (
    *('classes.txt', 'labels.txt', 'class_names.txt', 'names.txt', 'categories.txt', 'obj.names', 'classes.names'),
    *('classes.json', 'labels.json', 'label_map.json', 'id2label.json', 'dataset_meta.json'),
    '_classes.csv',
)
_NUMBERED = re.compile(r'(\d+)\s*[:,;\s]\s*(.+)')


@dataclass(frozen=True)
class ClassNames:
    """Names of classes by their number.

    Args:
        file: that states them.
        names: number -> name.
    """

    file: str
    names: Mapping[int, str]


def names_classes(file: str) -> bool:
    """Return whether a file is called as files of class names are."""
    return file.rsplit('/', 1)[-1].lower() in _FILES


def find_class_names(folder: Folder) -> ClassNames | None:
    """Return the class names that a file of a usual name states, the one nearest to the top, or None.

    A text file has a name or a number and a name on each line; JSON is a list of names, or an object of numbers and
    names in either order.

    Raises:
        SourceError: a file that states no names, or a name twice.
    """
    for file in sorted(filter(names_classes, folder.files), key=lambda file: (file.count('/'), file)):
        text = folder.read_text(file)
        names = _of_json(folder, file, text) if file.lower().endswith('.json') else _of_lines(text)
        if names == {}:
            raise folder.refusal('states no class names; expected one on each line: correct or remove it', file)
        if names is not None:
            return ClassNames(file, check_names(folder, file, names))
    return None


def check_names(folder: Folder, file: str, names: Mapping[int, str]) -> Mapping[int, str]:
    """Return the names, or raise a SourceError for one that is there twice."""
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise folder.refusal(f"names two classes '{twice[0]}'; expected different names: rename one", file)
    return names


def _of_lines(text: str) -> dict[int, str] | None:
    """Return the names in a text, or None for a list of images."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(is_image(word) for line in lines[:2] for word in re.split(r'[\s,;]+', line)):
        return None
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if numbered and numbered[0] is None and len(numbered) > 1 and all(numbered[1:]):
        numbered = numbered[1:]  # below a header such as `Pixel Value, Class`
    pairs = [(int(found[1]), found[2].strip()) for found in numbered if found]
    return dict(pairs) if len(pairs) == len(numbered) else dict(enumerate(lines))


def _of_json(folder: Folder, file: str, text: str) -> dict[int, str] | None:
    """Return the names in JSON, or None for a COCO file."""
    try:
        content: Any = json.loads(text)
    except ValueError as error:
        raise folder.refusal(f'is not JSON: {error}; correct or remove it', file) from error
    if isinstance(content, Mapping):
        if 'images' in content:
            return None
        content = next(
            (content[key] for key in ('label_map', 'labels', 'names', 'id2label') if key in content), content
        )
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(content))
    return _of_pairs(content.items()) if isinstance(content, Mapping) else {}


def _of_pairs(pairs: Iterable[tuple[Any, Any]]) -> dict[int, str]:
    """Return names by number from pairs in either order; empty for others."""
    found = {}
    for one, other in pairs:
        number, name = (one, other) if str(one).isdecimal() else (other, one)
        if not str(number).isdecimal() or not isinstance(name, str):
            return {}
        found[int(number)] = name
    return dict(sorted(found.items()))
