"""Read all annotations of a source."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from xlearner_mm.datasets.building import as_config, build_unread
from xlearner_mm.datasets.categories import check_classes, check_same_classes, origin, refuse_one_text, shortened
from xlearner_mm.datasets.integrity.guarded_parsing import GuardedParsing, numbered_by_name, told_with_file
from xlearner_mm.datasets.integrity.guarded_reading import leaves
from xlearner_mm.datasets.shared_annotations import read_once
from xlearner_mm.errors import SourceError
from xlearner_mm.sources import Source


def read_annotations(
    source: Source, dataset: Any, parts: list[BaseDataset], whole: bool = False, notes: list[str] | None = None
) -> dict[str, str]:
    """Read all annotations of a source.

    Args:
        source: the source.
        dataset: its dataset, wrappers included.
        parts: the datasets of files within it.
        whole: keep images with objects that cannot be ones, and leave out these objects. Defaults to False.
        notes: takes what is no error, but worth knowing: objects that are left out, classes that nothing has. Defaults
            to None: logged.

    Returns:
        Path -> reason of the images that were left out.

    Raises:
        SourceError: an annotation that cannot be read.
        ValueError: an annotation file that cannot be read, or files in which labels mean different classes.
        FileNotFoundError: a file is missing.
    """
    bad: dict[str, str] = {}
    labels: Counter[Any] = Counter()
    told: list[str] = []
    counted = True
    for part in parts:
        if part._fully_initialized:
            counted = False
            continue
        reading = GuardedParsing(source, part, bad, whole)
        try:
            with reading.in_place():
                part.full_init()
        except (SourceError, FileNotFoundError):
            raise
        except Exception as error:
            raise ValueError(told_with_file(error, part)) from error
        labels += reading.labels
        told += reading.notes
    for part in parts[1:]:
        check_same_classes(parts[0], part)
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    told += _classes_without_any(parts, labels) if counted else []
    if notes is not None:
        notes += told
    else:
        for note in told:
            print_log(f"source '{source.name}': {note}", 'current', logging.WARNING)
    return bad


def read_by_name(dataset: Any) -> None:
    """Read all annotations of a training on one stock data set, with labels that go by names.

    Args:
        dataset: the dataset, wrappers included; its annotations may have been read.

    Raises:
        SourceError: files in which labels mean other classes, or different ones.
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
            raise SourceError(f'{type(part).__name__}: {error} ({origin(part)})') from error
    if hasattr(dataset, 'full_init'):
        dataset.full_init()


def read_stock(dataloader: Any) -> Any:
    """Return a loader's config with its stock data set built, and read by :func:`read_by_name`.

    Args:
        dataloader: a loader or its config; loaders, and configs of sources or of built data sets, are returned as they
            are.
    """
    settings = dataloader.get('dataset') if isinstance(dataloader, Mapping) else None
    if not isinstance(settings, Mapping) or 'sources' in settings:
        return dataloader
    dataset = build_unread(settings)
    read_once(lambda: read_by_name(dataset), list(leaves(dataset)))
    return {**dataloader, 'dataset': as_config(dataset)}


def _classes_without_any(parts: list[BaseDataset], labels: Counter[Any]) -> list[str]:
    """Say which classes no image or object has, where labels are known before images are read."""
    classes = parts[0].metainfo.get('classes') or () if parts else ()
    empty = [name for label, name in enumerate(classes) if not labels[label]]
    if not labels or not empty:
        return []
    files = ', '.join(dict.fromkeys(map(origin, parts)))
    return [f'nothing in {files} is of {len(empty)} of the {len(classes)} classes: {shortened(empty)}']
