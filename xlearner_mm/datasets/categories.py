"""Labels by the names of classes, never by the place of a category or a folder."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset

_WRITE_THEM = 'set metainfo=dict(classes=...)'


def labels_of_categories(categories: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> dict[Any, int]:
    """Return category id -> label, by name and in the order of the labels; a class may have no category.

    mmdet numbers labels by the order of a file's categories, whatever the classes are: of a category that is missing,
    misspelt or elsewhere, all later labels mean other classes.

    Args:
        categories: those of a file in COCO's form.
        classes: the classes' names, in the order of the labels.

    Raises:
        ValueError: names or ids that several share, no category among the classes, or classes without a category
            beside categories that are no classes.
    """
    if not all(isinstance(category, Mapping) and {'id', 'name'} <= category.keys() for category in categories):
        raise ValueError("has a category without 'id' or 'name'")
    ids = _shared(category['id'] for category in categories)
    if ids:
        raise ValueError(f'has several categories of id {ids[0]!r}: their annotations cannot be told apart')
    names = [category['name'] for category in categories]
    doubled = [name for name in _shared(names) if name in classes]
    if doubled:
        several = [category['id'] for category in categories if category['name'] == doubled[0]]
        raise ValueError(f"has several categories called '{doubled[0]}', of ids {several}: make them one")
    missing, other = [c for c in classes if c not in names], [name for name in names if name not in classes]
    if len(missing) == len(classes) and names:
        raise ValueError(
            f"none of its categories ({shortened(names)}) is among the data set's classes ({shortened(classes)}): "
            f'{_WRITE_THEM} as they are called in the file'
        )
    if missing and other:
        raise ValueError(
            f'it has no category for {len(missing)} of the {len(classes)} classes ({shortened(missing)}), and '
            f'categories that are no classes ({shortened(other)}){did_you_mean(missing[0], other)}: {_WRITE_THEM} as '
            'they are called in the file, or give the file a category for each class'
        )
    labels = {name: label for label, name in enumerate(classes)}
    found = {category['id']: labels[category['name']] for category in categories if category['name'] in labels}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def check_classes(dataset: BaseDataset, stated: Mapping[str, Any]) -> None:
    """Refuse class names that do not say what a data set's labels mean.

    Args:
        dataset: one that has read its annotations.
        stated: what its annotation file says of itself: ``classes``, or mmpretrain's ``categories``.

    Raises:
        ValueError: a name that several labels have, or other names than those of the folders or of the file.
    """
    classes, folders = classes_of(dataset), _folders(dataset)
    if not classes:
        return
    if hasattr(dataset, 'cat2label') and _shared(classes):
        raise ValueError(f"several of its classes are called '{_shared(classes)[0]}', of which objects have one label")
    # Names of ImageNet's folders are numbers, none of which is a class.
    if folders != classes and set(folders) & set(classes):
        raise ValueError(
            f'its folders are numbered in the order of their names, {_difference(folders, classes)}: name the classes '
            f'as the folders, in that order, or leave them out'
        )
    named = sorted(stated.get('categories') or (), key=lambda category: category['id'])
    filed = stated.get('classes') or [category['category_name'] for category in named]
    if filed and list(filed) != classes:
        raise ValueError(f'its labels are numbered as its metainfo has it, {_difference(filed, classes)}')


def check_same_classes(first: BaseDataset, second: BaseDataset) -> None:
    """Refuse two data sets of one source in which a label means different classes, as far as both say.

    Args:
        first: one that has read its annotations.
        second: another.

    Raises:
        ValueError: they differ; the message names the label and both files.
    """
    for of in (classes_of, _folders):
        ours, theirs = of(first), of(second)
        if ours and theirs and ours != theirs:
            label = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            if label is None:
                told = f'{len(ours)} classes in {origin(first)}, but {len(theirs)} in {origin(second)}'
                lost = next(name for name in [*ours, *theirs] if name not in ours or name not in theirs)
                told += f", '{lost}' among them in one alone"
            else:
                told = f"label {label} is '{ours[label]}' in {origin(first)}, but '{theirs[label]}' in {origin(second)}"
            raise ValueError(f'{told}: both must have the same classes in the same order')


def refuse_one_text(dataset: BaseDataset) -> None:
    """Refuse one text in place of class names, each letter of which would be a class; the annotations may be unread.

    Args:
        dataset: a data set.

    Raises:
        ValueError: its ``classes`` are one text.
    """
    classes = dataset.metainfo.get('classes')
    if isinstance(classes, str):
        raise ValueError(
            f"its classes are the one text '{classes}': write ('{classes}',), or name a file that is there"
        )


def did_you_mean(name: str, others: Iterable[str]) -> str:
    """Return the end of a message: which of other names may be meant, whatever their case; '' if none is near."""
    written = {str(other).lower(): other for other in others}
    near = difflib.get_close_matches(str(name).lower(), written, n=1)
    return f"; is '{name}' their '{written[near[0]]}'?" if near else ''


def classes_of(dataset: Any) -> list[str]:
    """Return the names of a data set's classes; none where it does not say, or wraps data sets of several."""
    metainfo = getattr(dataset, 'metainfo', None)
    return list(metainfo.get('classes') or ()) if isinstance(metainfo, Mapping) else []


def origin(dataset: BaseDataset) -> str:
    """Return what a data set was read from: its annotation file, or the folder of its images."""
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    folders = [each for each in prefixes.values() if each] if isinstance(prefixes, Mapping) else [prefixes]
    return str(dataset.ann_file or next(iter(folders), None) or dataset.data_root or type(dataset).__name__)


def shortened(names: Sequence[str], shown: int = 3) -> str:
    """Return the first few names in one line."""
    return ', '.join(map(str, names[:shown])) + (', ...' if len(names) > shown else '')


def _folders(dataset: BaseDataset) -> list[str]:
    return list(getattr(dataset, 'folder_to_idx', None) or ())


def _shared(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _difference(found: Sequence[str], classes: Sequence[str]) -> str:
    for label, (own, named) in enumerate(zip(found, classes, strict=False)):
        if own != named:
            return f"and label {label} is '{own}', but its classes call it '{named}'"
    return f'which are {len(found)}, but there are {len(classes)} classes'
