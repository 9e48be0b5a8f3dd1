"""Reading of annotations: nothing that a stock dataset would drop silently is lost, and labels go by names."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from xlearner_mm.datasets.annotation_cache import AnnotationCache
from xlearner_mm.datasets.classes import (
    check_classes,
    check_same_classes,
    coco_of,
    did_you_mean,
    number_by_name,
    refuse_one_text,
    shortened,
)
from xlearner_mm.datasets.integrity.images import check_paths
from xlearner_mm.datasets.integrity.inspection import faulty_boxes
from xlearner_mm.datasets.shared_annotations import is_copy
from xlearner_mm.datasets.stock_datasets import origin
from xlearner_mm.errors import SourceError, bad_image
from xlearner_mm.sources import Source

_DROPPED: list = []
"""Stands for an image whose annotations cannot be used."""
_LONGEST = 300  # characters of annotations that name no file
_FIX = "correct the annotations, or train without such images: bad_data=dict(policy='skip')"
_LISTED = 10  # kinds of objects that are left out
_HOOKED = ('parse_data_info', 'load_data_list', 'filter_data', '_parse_instance_info')


class Findings(NamedTuple):
    """Result of reading a source's annotations.

    Args:
        bad: path -> reason of the images that are left out.
        images: number of all images of the annotations, before any filter, those left out included.
    """

    bad: dict[str, str]
    images: int


def read_annotations(
    source: Source,
    dataset: Any,
    parts: list[BaseDataset],
    whole: bool = False,
    notes: list[str] | None = None,
    cache: AnnotationCache | None = None,
) -> Findings:
    """Read all annotations of a source.

    Args:
        source: the source.
        dataset: its dataset, wrappers included.
        parts: the datasets below the wrappers.
        whole: keep images with impossible objects, and leave out only these objects. Defaults to False.
        notes: receives what is left out, and which classes have no image or object. Defaults to None: logged.
        cache: where annotations are kept for the next time. Defaults to None: nowhere.

    Returns:
        The images that are left out, and the number of all.

    Raises:
        SourceError: annotations that cannot be read, more bad ones than the source allows, or a class that reads them
            when it is built.
        ValueError: an annotation file that cannot be read, or files in which labels mean different classes.
        FileNotFoundError: a file is missing.
    """
    bad: dict[str, str] = {}
    kept = 0
    labels: Counter[Any] = Counter()
    found: list[str] = []
    counted = True
    for part in parts:
        if part._fully_initialized:
            # Below a wrapper it may have to: some need the classes or the length, as mmdet's MultiImageMixDataset.
            if part is dataset and not is_copy([part]):
                _refuse_unchecked(source, part)
            counted = False
            kept += len(part)
            continue
        read = partial(_read_part, source, part, whole)
        settings = {'bad_data': repr(source.bad_data), 'strict_paths': source.strict_paths, 'whole': whole}
        seen = read() if cache is None else cache.recall(part, settings, read)
        labels += Counter(dict(seen['labels']))
        found += seen['notes']
        kept += seen['kept']
        bad.update(seen['bad'])
    # The share is that of all parts, whose number of images is known now.
    findings = Findings(bad, kept + len(bad))
    source.bad_data.refuse_more(source.name, *findings)
    for part in parts[1:]:
        check_same_classes(parts[0], part)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    found += _empty_classes(parts, labels) if counted else []
    if notes is not None:
        notes += found
    else:
        for note in found:
            print_log(f"source '{source.name}': {note}", 'current', logging.WARNING)
    return findings


def _refuse_unchecked(source: Source, part: BaseDataset) -> None:
    raise SourceError(
        f"source '{source.name}': {type(part).__name__} has read {origin(part)} when it was built, unchecked, but is "
        'expected to read in full_init: let its __init__ take lazy_init and pass it on to the base class, and use '
        'neither its length nor its items'
    )


def _read_part(source: Source, part: BaseDataset, whole: bool) -> dict[str, Any]:
    """Read one dataset; return images or objects per label, notes, images that are left out, and how many are not."""
    reading = _GuardedParsing(source, part, whole)
    try:
        with reading.in_place():
            part.full_init()
    except (SourceError, FileNotFoundError):
        raise
    except Exception as error:
        raise ValueError(_with_file(error, part)) from error
    labels = list(reading.labels.items())
    return {'labels': labels, 'notes': reading.notes, 'bad': reading.bad, 'kept': reading.kept}


class _GuardedParsing:
    """Replacement of a dataset's own methods while it reads its annotations; arguments as of :func:`read_annotations`.

    ``labels`` counts the kept images or objects per label, ``kept`` the kept images, ``left_out`` the objects that are
    left out by kind; ``bad`` holds path and reason of the images that are left out.
    """

    def __init__(self, source: Source, dataset: BaseDataset, whole: bool = False) -> None:
        self.source, self.dataset, self.whole = source, dataset, whole
        self.bad: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        self.labels: Counter[Any] = Counter()
        self.kept = 0
        self._other_names: Counter[str] = Counter()
        self._file_is_checked = False
        self._readable = False
        self._unreadable: list[tuple[str, str]] = []  # until one is readable
        self._own = {name: getattr(dataset, name) for name in _HOOKED if hasattr(dataset, name)}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the dataset's methods within."""
        for name in self._own:
            setattr(self.dataset, name, getattr(self, name))
        try:
            yield
        finally:
            for name in self._own:
                delattr(self.dataset, name)

    @property
    def notes(self) -> list[str]:
        """Objects that are left out."""
        if not self.left_out:
            return []
        kinds = shortened([f'{count:,} {name}' for name, count in self.left_out.most_common()], _LISTED)
        return [f'objects left out of {self.dataset.ann_file}: {kinds}']

    def parse_data_info(self, raw: Mapping[str, Any]) -> Any:
        """Read one image's annotations."""
        if self.source.strict_paths:
            check_paths(self.source.name, self.dataset, raw)
        coco = coco_of(self.dataset)
        if coco is not None and not self._file_is_checked:
            self._check_file(coco)
        path = _described(raw)  # some datasets modify it
        faults: dict[int, str] = {}
        try:
            if coco is not None and 'raw_ann_info' in raw:
                faults = _faulty_objects(raw, coco.cats)
                if not faults or self.whole:
                    raw = self._without(faults, raw, coco, path)
            parsed = _DROPPED if faults and not self.whole else self._own['parse_data_info'](raw)
        except SourceError:
            raise
        except Exception as error:  # whatever a stock dataset raises on foreign annotations
            reason = f'has annotations that cannot be read: {_with_file(error, self.dataset)}'
            if self._readable:
                return self._leave_out(path, reason)
            self._unreadable.append((path, reason))
            return _DROPPED
        self._blame_images()
        if parsed is _DROPPED:
            return self._leave_out(path, f'{next(iter(faults.values()))} ({self.dataset.ann_file})')
        return parsed

    def load_data_list(self) -> list[dict]:
        """Read all images' annotations."""
        refuse_one_text(self.dataset)
        items, stated = self._load()
        if len(self._unreadable) > 1:
            path, reason = self._unreadable[0]
            raise SourceError(
                f"source '{self.source.name}': {type(self.dataset).__name__} can read none of its "
                f'{len(self._unreadable):,} annotations (the first is {path}, which {reason}): correct the class or '
                'the settings of the dataset, or the format of its annotations'
            )
        self._blame_images()
        kept = [item for item in items if item is not _DROPPED]
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
        self.labels, self.kept = _count_labels(kept), len(kept)
        check_classes(self.dataset, stated)
        if not self.dataset.test_mode:
            self._refuse_misspelled()
        return kept

    def filter_data(self) -> list[dict]:
        """Return the images that the dataset's own filter keeps."""
        kept = self._own['filter_data']()
        if not kept:
            raise ValueError(f'its filter_cfg={self.dataset.filter_cfg} leaves none of its images')
        return kept

    def _parse_instance_info(self, tree: Any, *args: Any, **kwargs: Any) -> list[dict]:
        """Read the objects of an XML file, and count those of other names than the classes'."""
        classes = self.dataset.metainfo['classes']
        names = [found.findtext('name') for found in tree.findall('object')]
        other = [str(name) for name in names if name not in classes]
        self._other_names.update(other)
        self.left_out.update(f"'{name}'" for name in other)
        return self._own['_parse_instance_info'](tree, *args, **kwargs)

    def _load(self) -> tuple[list[dict], Mapping[str, Any]]:
        """Read all images' annotations, and the metainfo of the file, which MMEngine drops where the config has it."""
        stated = self.dataset._metainfo = _Stated(self.dataset._metainfo)
        try:
            return self._own['load_data_list'](), stated.by_file
        finally:
            self.dataset._metainfo = dict(self.dataset._metainfo)

    def _blame_images(self) -> None:
        """Report unreadable annotations as faults of their images: not all are unreadable."""
        self._readable = True
        while self._unreadable:
            self._leave_out(*self._unreadable.pop(0))

    def _leave_out(self, path: str, reason: str) -> list:
        if not self.source.bad_data.skips:
            raise bad_image(self.source.name, path, reason, _FIX)
        self.bad[path] = reason
        return _DROPPED

    def _refuse_misspelled(self) -> None:
        classes = self.dataset.metainfo.get('classes') or ()
        for name in [name for label, name in enumerate(classes) if not self.labels[label]]:
            meant = did_you_mean(name, self._other_names)
            if meant:
                raise ValueError(
                    f"it has no object of class '{name}', but of names that are no classes "
                    f'({shortened(list(self._other_names))}){meant}'
                )

    def _check_file(self, coco: Any) -> None:
        self._file_is_checked = True
        refuse_lost_images(coco.dataset, annotated=not self.dataset.test_mode)
        number_by_name(self.dataset, coco)
        for image, fault in _unlisted_images(coco.dataset):
            if self.whole:
                self.left_out[f'of an {image}, which {fault}'] += 1
            else:
                self._leave_out(f'{image} of {self.dataset.ann_file}', fault)

    def _without(self, faults: Mapping[int, str], raw: Mapping[str, Any], coco: Any, path: str) -> Mapping[str, Any]:
        """Return annotations without faulty objects; count these and those that the stock reader leaves out."""
        self.left_out.update(f'of {path}, which {fault}' for fault in faults.values())
        kept = [found for index, found in enumerate(raw['raw_ann_info']) if index not in faults]
        raw = {**raw, 'raw_ann_info': kept}
        self.left_out.update(_unread_objects(raw, self.dataset.cat_ids, coco.cats))
        return raw


class _Stated(dict):
    """Metainfo of a dataset that also keeps the file's own, ``by_file``."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.by_file: dict[str, Any] = {}

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Keep the default as well."""
        self.by_file[key] = default
        return super().setdefault(key, default)


def refuse_lost_images(content: Mapping[str, Any], annotated: bool) -> None:
    """Raise a ValueError for a COCO file of which mmdet would lose images or, if ``annotated``, all objects."""
    if annotated and 'annotations' not in content:
        raise ValueError("has no 'annotations'")
    twice = [key for key, count in Counter(image['id'] for image in content.get('images', ())).items() if count > 1]
    if twice:
        raise ValueError(f'has {len(twice):,} image ids that several images share, such as {twice[0]!r}')


def _unlisted_images(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and fault of images that have annotations, but are not among a COCO file's images."""
    listed = {image['id'] for image in content.get('images', ())}
    unlisted = Counter(found['image_id'] for found in content.get('annotations', ()) if found['image_id'] not in listed)
    for key, count in unlisted.items():
        yield f'image of id {key!r}', f"has {count:,} annotation(s), but is not among the file's images"


def _faulty_objects(raw: Mapping[str, Any], categories: Collection[int]) -> dict[int, str]:
    """Return index -> fault of one image's impossible objects, of which the file marks none as ignored."""
    image = raw['raw_img_info']
    found = [(i, o) for i, o in enumerate(raw['raw_ann_info']) if 'bbox' in o and not o.get('ignore', False)]
    if not found:
        return {}
    boxes = np.array([(x, y, x + w, y + h) for _, o in found for x, y, w, h in [o['bbox']]], dtype=np.float64)
    faults = {found[row][0]: fault for row, fault in faulty_boxes(boxes, image['height'], image['width']).items()}
    for index, described in found:
        if described['category_id'] not in categories:
            faults[index] = f'has an object of category {described["category_id"]}, which its file does not define'
        elif described['area'] <= 0:
            faults.setdefault(index, f'has an object whose area is {described["area"]:g}')
    return faults


def _unread_objects(
    raw: Mapping[str, Any], wanted: Collection[int], categories: Mapping[int, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield the kind of each object of an image that the stock reader rightly leaves out: unwanted, or too small."""
    for found in raw['raw_ann_info']:
        if 'bbox' not in found or found.get('ignore', False):
            continue
        if found['category_id'] not in wanted:
            yield f"'{categories[found['category_id']]['name']}'"
        elif min(found['bbox'][2:]) < 1:
            yield 'less than a pixel wide or high'


def _empty_classes(parts: list[BaseDataset], labels: Counter[Any]) -> list[str]:
    """Describe the classes without any image or object, where labels are known before images are read."""
    classes = parts[0].metainfo.get('classes') or () if parts else ()
    empty = [name for label, name in enumerate(classes) if not labels[label]]
    if not labels or not empty:
        return []
    files = ', '.join(dict.fromkeys(map(origin, parts)))
    return [f'nothing in {files} is of {len(empty)} of the {len(classes)} classes: {shortened(empty)}']


def _count_labels(items: Sequence[Mapping[str, Any]]) -> Counter[Any]:
    """Count images or objects per label, without ignored objects."""
    counts: Counter[Any] = Counter()
    for item in items:
        label = item.get('gt_label')
        if label is not None:
            counts.update([label] if isinstance(label, int) else np.ravel(label).tolist())
        objects = item.get('instances')
        if objects:
            counts.update(found.get('bbox_label') for found in objects if not found.get('ignore_flag'))
    return counts


def _with_file(error: Exception, dataset: BaseDataset) -> str:
    where = f' ({dataset.ann_file})' if dataset.ann_file else ''
    return f'{type(error).__name__}: {error}{where}'


def _described(raw: Any) -> str:
    image = raw.get('raw_img_info', raw) if isinstance(raw, Mapping) else raw
    names = (
        [image.get(key) for key in ('xml_path', 'img_path', 'file_name', 'id')] if isinstance(image, Mapping) else []
    )
    return str(next((name for name in names if name is not None), raw))[:_LONGEST]
