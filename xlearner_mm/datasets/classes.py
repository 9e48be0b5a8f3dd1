"""Class names: labels go by them, never by the position of a category or folder; and the classes of label maps."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.shared_annotations import read_once
from xlearner_mm.datasets.stock_datasets import as_config, build_unread, leaves, origin
from xlearner_mm.errors import SourceError
from xlearner_mm.sources import Source
from xlearner_mm.spread import spread

_FIX = 'set metainfo=dict(classes=...)'
_STRAY = ('__MACOSX', '__pycache__', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')
"""Folders that systems and programs create; others begin with a dot."""
_OF_NO_IMAGES = 'need at least one array'
"""Part of NumPy's message when MMEngine serializes an empty list."""
_OPENED_MAPS = 32


def labels_of_categories(categories: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> dict[Any, int]:
    """Map the ids of a COCO file's categories to labels, by name and in label order; a class may have no category.

    mmdet numbers labels by the order of the file's categories instead: where one is missing, misspelled or moved, all
    later labels would mean other classes.

    Args:
        categories: of the file.
        classes: class names in label order.

    Raises:
        ValueError: duplicate names or ids, no category among the classes, or classes without a category beside
            categories that are not classes.
    """
    if not all(isinstance(category, Mapping) and {'id', 'name'} <= category.keys() for category in categories):
        raise ValueError("has a category without 'id' or 'name'")
    ids = _duplicates(category['id'] for category in categories)
    if ids:
        raise ValueError(f'has several categories of id {ids[0]!r}: give each its own')
    names = [category['name'] for category in categories]
    doubled = [name for name in _duplicates(names) if name in classes]
    if doubled:
        several = [category['id'] for category in categories if category['name'] == doubled[0]]
        raise ValueError(f"has several categories called '{doubled[0]}', of ids {several}: merge them")
    missing, other = [c for c in classes if c not in names], [name for name in names if name not in classes]
    if len(missing) == len(classes) and names:
        raise ValueError(
            f"none of its categories ({shortened(names)}) is among the data set's classes ({shortened(classes)}): "
            f'{_FIX} to their names in the file'
        )
    if missing and other:
        raise ValueError(
            f'it has no category for {len(missing)} of the {len(classes)} classes ({shortened(missing)}), and '
            f'categories that are no classes ({shortened(other)}){did_you_mean(missing[0], other)}: {_FIX} to their '
            'names in the file, or add a category for each class'
        )
    labels = {name: label for label, name in enumerate(classes)}
    found = {category['id']: labels[category['name']] for category in categories if category['name'] in labels}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def coco_of(dataset: Any) -> Any:
    """Return the opened COCO or LVIS file of a dataset that is reading it, or None."""
    return getattr(dataset, 'coco', None) or getattr(dataset, 'lvis', None)


def number_by_name(dataset: Any, coco: Any) -> None:
    """Let a dataset of mmdet number labels by the category names of its opened COCO file."""
    classes = dataset.metainfo.get('classes')
    if classes and coco.dataset.get('categories'):
        labels = labels_of_categories(coco.dataset['categories'], classes)
        dataset.cat_ids, dataset.cat2label = list(labels), labels


@contextmanager
def numbered_by_name(dataset: Any) -> Iterator[None]:
    """Let an unread dataset of mmdet number labels by the names of its file's categories, within.

    Raises:
        ValueError: by ``full_init``, for categories that contradict the classes.
    """
    own = dataset.parse_data_info
    numbered = False

    def parse(raw: Any) -> Any:
        nonlocal numbered
        coco = coco_of(dataset)
        if coco is not None and not numbered:
            number_by_name(dataset, coco)
            numbered = True
        return own(raw)

    dataset.parse_data_info = parse
    try:
        yield
    finally:
        del dataset.parse_data_info


def read_by_name(dataset: Any) -> None:
    """Read all annotations of a stock dataset, with labels by class names.

    Args:
        dataset: the dataset, wrappers included; its annotations may have been read.

    Raises:
        SourceError: files in which labels mean other classes, or different ones; no images.
    """
    parts = list(leaves(dataset))
    for part in parts:
        if part._fully_initialized:
            continue
        try:
            refuse_one_text(part)
            with numbered_by_name(part):
                part.full_init()
            check_classes(part, {})
            check_same_classes(parts[0], part)
        except ValueError as error:
            empty = _OF_NO_IMAGES in str(error)
            reason = 'it holds no image; correct its folders, its files or its filter_cfg' if empty else error
            raise SourceError(f'{type(part).__name__}: {reason} ({origin(part)})') from error
    if hasattr(dataset, 'full_init'):
        dataset.full_init()


def read_stock(dataloader: Any) -> Any:
    """Return a dataloader config with its stock dataset built and read by :func:`read_by_name`.

    Built dataloaders, and configs of sources or of built datasets, are returned unchanged.
    """
    settings = dataloader.get('dataset') if isinstance(dataloader, Mapping) else None
    if not isinstance(settings, Mapping) or 'sources' in settings:
        return dataloader
    dataset = build_unread(settings)
    read_once(lambda: read_by_name(dataset), list(leaves(dataset)))
    return {**dataloader, 'dataset': as_config(dataset)}


def check_classes(dataset: BaseDataset, stated: Mapping[str, Any]) -> None:
    """Refuse class names that contradict a dataset's labels.

    Args:
        dataset: a dataset whose annotations have been read.
        stated: ``classes``, or mmpretrain's ``categories``, in its annotation file.

    Raises:
        ValueError: a duplicate name, or other names than those of the folders or the file.
    """
    classes, folders = classes_of(dataset), _folders(dataset)
    if not classes:
        return
    if hasattr(dataset, 'cat2label') and (doubled := _duplicates(classes)):
        raise ValueError(f"several of its classes are called '{doubled[0]}', so their objects share one label")
    # ImageNet's folders are named by WordNet ids, none of which is a class name.
    if folders != classes and set(folders) & set(classes):
        raise ValueError(
            f'its folders are numbered in the order of their names, {_difference(folders, classes)}: name the classes '
            f'as the folders, in that order, or leave them out'
        )
    named = sorted(stated.get('categories') or (), key=lambda category: category['id'])
    filed = stated.get('classes') or [category['category_name'] for category in named]
    if filed and list(filed) != classes:
        raise ValueError(f'its labels are numbered as in its metainfo, {_difference(filed, classes)}')


def check_same_classes(first: BaseDataset, second: BaseDataset) -> None:
    """Refuse two datasets of one source in which a label means different classes, as far as both name them.

    Raises:
        ValueError: they differ; the message names the label and both files.
    """
    for names_in in (classes_of, _folders):
        ours, theirs = names_in(first), names_in(second)
        if not ours or not theirs or ours == theirs:
            continue
        label = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        if label is None:
            extra = next(name for name in [*ours, *theirs] if name not in ours or name not in theirs)
            difference = (
                f'{len(ours)} classes in {origin(first)}, but {len(theirs)} in {origin(second)}, '
                f"'{extra}' among them in only one"
            )
        else:
            difference = (
                f"label {label} is '{ours[label]}' in {origin(first)}, but '{theirs[label]}' in {origin(second)}"
            )
        raise ValueError(f'{difference}: both must have the same classes in the same order')


def refuse_one_text(dataset: BaseDataset) -> None:
    """Raise a ValueError for a text in place of class names, each letter of which would be a class."""
    classes = dataset.metainfo.get('classes')
    if isinstance(classes, str):
        raise ValueError(
            f"its classes are the one text '{classes}': write ('{classes}',), or name an existing file of names"
        )


def refuse_stray_classes(owner: str, dataset: Any) -> None:
    """Raise a SourceError for folders of other programs among the classes: first by name, they would shift labels."""
    stray = stray_names(classes_of(dataset))
    if stray:
        read = [leaf.data_prefix.get('img_path') or leaf.data_root for leaf in leaves(dataset)]
        raise SourceError(
            f'{owner}: its dataset takes {stray} of {_named(read, dataset)} for classes, which other programs leave '
            'behind: delete these folders'
        )


def stray_names(classes: Iterable[Any] | None) -> list[str]:
    """Return the class names that are folders of other programs."""
    return [name for name in classes or () if isinstance(name, str) and (name[:1] == '.' or name in _STRAY)]


def refuse_more_classes(source: Source, dataset: Any) -> None:
    """Raise a SourceError for a dataset, read or not, with more classes than its source's head."""
    head, classes = source.head_classes, len(classes_of(dataset))
    if head is not None and classes > head:
        read = [leaf.ann_file or leaf.data_root for leaf in leaves(dataset)]
        raise SourceError(
            f"source '{source.name}': its dataset has {classes} classes, but its head {head} (read from "
            f'{_named(read, dataset)}): set its num_classes, or correct the file'
        )


def did_you_mean(name: str, others: Iterable[str]) -> str:
    """Return the end of a message that names the nearest of other names, ignoring case; '' if none is near."""
    written = {str(other).lower(): other for other in others}
    near = difflib.get_close_matches(str(name).lower(), written, n=1)
    return f"; is '{name}' their '{written[near[0]]}'?" if near else ''


def classes_of(dataset: Any) -> list[str]:
    """Return the class names of a dataset; none where it has none, or wraps datasets of several."""
    metainfo = getattr(dataset, 'metainfo', None)
    return list(metainfo.get('classes') or ()) if isinstance(metainfo, Mapping) else []


def shortened(names: Sequence[str], shown: int = 3) -> str:
    """Join the first few names for a message."""
    return ', '.join(map(str, names[:shown])) + (', ...' if len(names) > shown else '')


@dataclass(frozen=True)
class MapValues:
    """Values of some label maps of a dataset, as its pipeline loads them; editors write masks of 0 and 255.

    Args:
        where: folder of the maps.
        classes: class names.
        ignored: value of pixels without a class.
        total: number of maps of the dataset.
        opened: number of opened maps.
        counts: value -> number of opened maps with it.
    """

    where: str
    classes: tuple[str, ...]
    ignored: int
    total: int
    opened: int
    counts: Counter[int]

    @property
    def missing(self) -> list[str]:
        """Classes in none of the opened maps."""
        return [name for label, name in enumerate(self.classes) if not self.counts[label]]

    def problem(self) -> str | None:
        """Return why nothing can be learned from the maps, or None: they distinguish no classes."""
        found = [name for name in self.classes if name not in self.missing]
        if len(found) > min(1, len(self.classes) - 1) or not (self.counts[self.ignored] or self.opened == self.total):
            return None
        held = f"only class '{found[0]}'" if found else 'no class'
        ignored = self.counts[self.ignored]
        beside = f' beside {self.ignored}, which is ignored and is in {ignored:,} of them' if ignored else ''
        return (
            f'{self.where}: {self._which()} hold {held}{beside}, and none holds {shortened(self.missing)}: write the '
            'number of its class to each pixel, 0 and 1 in place of 0 and 255'
        )

    def note(self) -> str | None:
        """Return which classes are in none of the opened maps, or None."""
        if not self.missing:
            return None
        absent = f'{len(self.missing)} of the {len(self.classes)} classes: {shortened(self.missing)}'
        return f'{self.where}: {self._which()} do not hold {absent}'

    def _which(self) -> str:
        if self.opened == self.total:
            return f'all {self.total:,} label maps'
        return f'the {self.opened:,} label maps that were opened, of {self.total:,},'


def values_of_maps(dataset: BaseDataset, ignored: int, count: int | None = _OPENED_MAPS) -> MapValues | None:
    """Open some label maps of a dataset; unreadable ones are left to be reported when their images are read.

    Args:
        dataset: a dataset whose annotations have been read.
        ignored: value of pixels without a class.
        count: number of maps to open, spread evenly over the dataset; None opens all. Defaults to 32.

    Returns:
        None for a dataset without label maps or classes.
    """
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    loader = next((each for each in transforms if hasattr(each, '_load_seg_map')), None)
    classes, total = classes_of(dataset), len(dataset)
    if loader is None or not classes or not total or not dataset.get_data_info(0).get('seg_map_path'):
        return None
    opened, counts = 0, Counter[int]()
    for index in spread(total, total if count is None else count):
        data = dataset.get_data_info(index)
        try:
            loader._load_seg_map(data)
        except Exception:  # reported with its name when the image is read
            continue
        if 'gt_seg_map' in data:
            counts.update(np.unique(data['gt_seg_map']).tolist())
            opened += 1
    where = str(dataset.data_prefix.get('seg_map_path') or origin(dataset))
    return MapValues(where, tuple(classes), ignored, total, opened, counts) if opened else None


def _folders(dataset: BaseDataset) -> list[str]:
    return list(getattr(dataset, 'folder_to_idx', None) or ())


def _named(read: list[str], dataset: Any) -> str:
    return ', '.join(dict.fromkeys(filter(None, read))) or type(dataset).__name__


def _duplicates(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _difference(found: Sequence[str], classes: Sequence[str]) -> str:
    for label, (own, named) in enumerate(zip(found, classes, strict=False)):
        if own != named:
            return f"and label {label} is '{own}', but its classes call it '{named}'"
    return f'which are {len(found)}, but there are {len(classes)} classes'
