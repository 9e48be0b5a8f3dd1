"""Watch a stock dataset read its annotations: nothing of them is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.categories import (
    check_classes,
    did_you_mean,
    labels_of_categories,
    refuse_one_text,
    shortened,
)
from xlearner_mm.datasets.integrity.coco_file import faulty_objects, refuse_lost_images, unlisted_images, unread_objects
from xlearner_mm.datasets.integrity.paths import check_paths
from xlearner_mm.errors import SourceError, bad_image
from xlearner_mm.sources import Source

_DROPPED: list = []
"""Stands for an image whose annotations cannot be read."""
_LONGEST = 300  # characters of annotations that name no file
_MEND = "correct the annotations, or train without such images: bad_data=dict(policy='skip')"
_LISTED = 10  # kinds of objects that are left out
_HOOKED = ('parse_data_info', 'load_data_list', 'filter_data', '_parse_instance_info')


class GuardedParsing:
    """What stands in the place of a dataset's own methods while it reads its annotations.

    Args:
        source: its ``bad_data`` says whether bad images are errors or left out, and how many may be.
        dataset: one that has not read its annotations yet.
        bad: takes path -> reason of those left out.
        whole: of images with objects that cannot be ones, leave out these objects alone, and count them: a validation
            has all of its images.

    Raises:
        BadImageError: with ``policy='error'``, by ``full_init``.
        SourceError: more are unreadable than may be left out.
        ValueError: the file as a whole loses images, has no object of the dataset's classes, or classes that do not say
            what its labels mean.

    Attributes:
        labels: label -> how many images or objects have it, of those that are kept.
    """

    def __init__(self, source: Source, dataset: BaseDataset, bad: dict[str, str], whole: bool = False) -> None:
        self.source, self.dataset, self.bad, self.whole = source, dataset, bad, whole
        self.left_out: Counter[str] = Counter()
        self.labels: Counter[Any] = Counter()
        self._other_names: Counter[str] = Counter()
        self._file_is_checked = False
        self._own = {name: getattr(dataset, name) for name in _HOOKED if hasattr(dataset, name)}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it, ``dataset.full_init`` reads in this way."""
        for name in self._own:
            setattr(self.dataset, name, getattr(self, name))
        try:
            yield
        finally:
            for name in self._own:
                delattr(self.dataset, name)

    @property
    def notes(self) -> list[str]:
        """What was left out for good reason."""
        if not self.left_out:
            return []
        told = shortened([f'{count:,} {name}' for name, count in self.left_out.most_common()], _LISTED)
        return [f'objects left out of {self.dataset.ann_file}: {told}']

    def parse_data_info(self, raw: Mapping[str, Any]) -> Any:
        """Read one image's annotations."""
        if self.source.strict_paths:
            check_paths(self.source.name, self.dataset, raw)
        coco = getattr(self.dataset, 'coco', None) or getattr(self.dataset, 'lvis', None)
        if coco is not None and not self._file_is_checked:
            self._check_file(coco)
        path = _described(raw)  # some datasets empty what they are given
        try:
            if coco is not None and 'raw_ann_info' in raw:
                faults = faulty_objects(raw, coco.cats)
                if faults and not self.whole:
                    return self._leave_out(path, f'{next(iter(faults.values()))} ({self.dataset.ann_file})')
                raw = self._without(faults, raw, coco, path)
            return self._own['parse_data_info'](raw)
        except SourceError:
            raise
        except Exception as error:  # whatever a stock dataset raises on foreign annotations
            return self._leave_out(path, f'has annotations that cannot be read: {told_with_file(error, self.dataset)}')

    def load_data_list(self) -> list[dict]:
        """Read all images' annotations."""
        refuse_one_text(self.dataset)
        items, stated = self._listed()
        kept = [item for item in items if item is not _DROPPED]
        if self.bad:
            self.source.bad_data.refuse_more(self.source.name, self.bad, len(kept) + len(self.bad))
        if not kept and self.bad:
            path, reason = next(reversed(self.bad.items()))
            raise ValueError(f'none of its {len(self.bad):,} images can be used; the last is {path}: it {reason}')
        if not kept:
            raise ValueError('it lists no image')
        if self.left_out and not any(item.get('instances') for item in kept):
            raise ValueError(
                f'of its {sum(self.left_out.values()):,} objects, none is of its classes '
                f'({shortened(self.dataset.metainfo["classes"])}): they are {shortened(list(self.left_out))}'
            )
        self.labels = _labels(kept)
        check_classes(self.dataset, stated)
        if not self.dataset.test_mode:
            self._refuse_misspelt()
        return kept

    def _listed(self) -> tuple[list[dict], Mapping[str, Any]]:
        """Read all images' annotations, and what the file says of itself where the config says otherwise."""
        stated = self.dataset._metainfo = _Stated(self.dataset._metainfo)
        try:
            return self._own['load_data_list'](), stated.by_file
        finally:
            self.dataset._metainfo = dict(self.dataset._metainfo)

    def _refuse_misspelt(self) -> None:
        classes = self.dataset.metainfo.get('classes') or ()
        for name in [name for label, name in enumerate(classes) if not self.labels[label]]:
            meant = did_you_mean(name, self._other_names)
            if meant:
                raise ValueError(
                    f"it has no object of class '{name}', but of names that are no classes "
                    f'({shortened(list(self._other_names))}){meant}'
                )

    def filter_data(self) -> list[dict]:
        """Take the images that the dataset's own filter leaves."""
        kept = self._own['filter_data']()
        if not kept:
            raise ValueError(f'its filter_cfg={self.dataset.filter_cfg} leaves none of its images')
        return kept

    def _parse_instance_info(self, tree: Any, *args: Any, **kwargs: Any) -> list[dict]:
        """Read the objects of an XML file; those of other names than the classes' are counted."""
        classes = self.dataset.metainfo['classes']
        names = [found.findtext('name') for found in tree.findall('object')]
        other = [str(name) for name in names if name not in classes]
        self._other_names.update(other)
        self.left_out.update(f"'{name}'" for name in other)
        return self._own['_parse_instance_info'](tree, *args, **kwargs)

    def _check_file(self, coco: Any) -> None:
        self._file_is_checked = True
        refuse_lost_images(coco.dataset, annotated=not self.dataset.test_mode)
        _number_by_name(self.dataset, coco)
        for image, fault in unlisted_images(coco.dataset):
            if self.whole:
                self.left_out[f'of an {image}, which {fault}'] += 1
            else:
                self._leave_out(f'{image} of {self.dataset.ann_file}', fault)

    def _without(self, faults: Mapping[int, str], raw: Mapping[str, Any], coco: Any, path: str) -> Mapping[str, Any]:
        """Return an image's annotations without some, and count these and those that the reader will leave out."""
        self.left_out.update(f'of {path}, which {fault}' for fault in faults.values())
        kept = [found for index, found in enumerate(raw['raw_ann_info']) if index not in faults]
        raw = {**raw, 'raw_ann_info': kept}
        self.left_out.update(unread_objects(raw, self.dataset.cat_ids, coco.cats))
        return raw

    def _leave_out(self, path: str, reason: str) -> list:
        if not self.source.bad_data.skips:
            raise bad_image(self.source.name, path, reason, _MEND)
        self.bad[path] = reason
        return _DROPPED


@contextmanager
def numbered_by_name(dataset: Any) -> Iterator[None]:
    """Within it, a data set of mmdet numbers labels by the names of its file's categories; nothing else is checked.

    Args:
        dataset: one that has not read its annotations yet.

    Raises:
        ValueError: by ``full_init``, for categories that do not fit the classes.
    """
    own = dataset.parse_data_info
    numbered = False

    def parse(raw: Any) -> Any:
        nonlocal numbered
        coco = getattr(dataset, 'coco', None) or getattr(dataset, 'lvis', None)
        if coco is not None and not numbered:
            _number_by_name(dataset, coco)
            numbered = True
        return own(raw)

    dataset.parse_data_info = parse
    try:
        yield
    finally:
        del dataset.parse_data_info


def _number_by_name(dataset: Any, coco: Any) -> None:
    classes = dataset.metainfo.get('classes')
    if classes and coco.dataset.get('categories'):
        labels = labels_of_categories(coco.dataset['categories'], classes)
        dataset.cat_ids, dataset.cat2label = list(labels), labels


class _Stated(dict):
    """A data set's metainfo, and what its file says of itself, which MMEngine drops where the config says otherwise."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.by_file: dict[str, Any] = {}

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Keep the default as well."""
        self.by_file[key] = default
        return super().setdefault(key, default)


def _labels(items: Sequence[Mapping[str, Any]]) -> Counter[Any]:
    """How many images have each label, and how many objects, those that are ignored left out."""
    counts: Counter[Any] = Counter()
    for item in items:
        label = item.get('gt_label')
        if label is not None:
            counts.update([label] if isinstance(label, int) else np.ravel(label).tolist())
        objects = item.get('instances')
        if objects:
            counts.update(found.get('bbox_label') for found in objects if not found.get('ignore_flag'))
    return counts


def told_with_file(error: Exception, dataset: BaseDataset) -> str:
    """Return an error's kind and message, and the annotation file that was read."""
    where = f' ({dataset.ann_file})' if dataset.ann_file else ''
    return f'{type(error).__name__}: {error}{where}'


def _described(raw: Mapping[str, Any]) -> str:
    image = raw.get('raw_img_info', raw)
    names = (
        [image.get(key) for key in ('xml_path', 'img_path', 'file_name', 'id')] if isinstance(image, Mapping) else []
    )
    return str(next((name for name in names if name is not None), raw))[:_LONGEST]
