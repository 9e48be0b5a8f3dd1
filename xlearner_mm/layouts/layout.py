"""The content of a folder of labeled images, as settings of stock datasets."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from xlearner_mm.datasets.classes import shortened

_WIDTH = 120  # characters of the printed table
_NAMED = 4  # classes


@dataclass(frozen=True)
class Split:
    """The training or the validation part of a source.

    Args:
        images: number of its images with labels.
        dataset: config of a stock dataset with its ``_scope_``, without pipeline: see :meth:`with_pipeline`. Paths
            begin as the folder was given, absolute or relative to the working directory.
        from_split: True if the part was drawn by the seeded split, False if the folder has it.
    """

    images: int
    dataset: dict[str, Any]
    from_split: bool = False

    def with_pipeline(self, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the dataset's config with a pipeline, which every part of a concatenated dataset gets."""
        if 'datasets' in self.dataset:
            return {**self.dataset, 'datasets': [{**part, 'pipeline': pipeline} for part in self.dataset['datasets']]}
        return {**self.dataset, 'pipeline': pipeline}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a seeded sample of training images as shown, in pixels.

    Args:
        short: median of their shorter sides.
        long: median of their longer sides.
        smallest: width and height of the one of the smallest area.
        largest: width and height of the one of the largest area.
    """

    short: int
    long: int
    smallest: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class Objects:
    """Boxes of the training images.

    Args:
        per_image: mean number of boxes of an image that has any.
        relative_size: median square root of a box's area, relative to that of its image.
    """

    per_image: float
    relative_size: float


@dataclass(frozen=True)
class Layout:
    """A folder of labeled images, recognized.

    Args:
        name: of the source.
        task: ``'cls'``, ``'det'`` or ``'seg'``.
        folder: as it was given.
        kind: ``'class folders'``, ``'list of files and labels'``, ``'COCO'``, ``'VOC'``, ``'YOLO'`` or ``'images and
            masks'``.
        classes: names in label order.
        train: the training part.
        val: the validation part.
        evaluator: config of a stock metric for the validation part.
        labels_loading: settings of the pipeline's ``LoadAnnotations``; empty for ``'cls'``.
        sizes: of the images.
        objects: of ``'det'``; None for other tasks.
        notes: what was handled and should be said.
    """

    name: str
    task: str
    folder: Path
    kind: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    evaluator: dict[str, Any]
    labels_loading: dict[str, Any]
    sizes: Sizes
    objects: Objects | None = None
    notes: tuple[str, ...] = ()


def shown(path: Path) -> Path:
    """Return a path as a user would write it: relative within the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def describe(layouts: Iterable[Layout]) -> str:
    """Return a table of what was recognized, with the notes below it."""
    layouts = list(layouts)
    table = Table(title='sources')
    for column in ('source', 'task', 'found'):
        table.add_column(column, overflow='fold')
    for column in ('train', 'val', 'classes', 'sizes', 'boxes'):
        table.add_column(column, justify='right', overflow='fold')
    for layout in layouts:
        table.add_row(
            layout.name,
            layout.task,
            f'{layout.kind} in {shown(layout.folder)}',
            f'{layout.train.images:,}',
            f'{layout.val.images:,}' + (' (split)' if layout.val.from_split else ''),
            f'{len(layout.classes):,}: {shortened(layout.classes, _NAMED)}',
            _described(layout.sizes),
            _described_objects(layout.objects),
        )
    page = io.StringIO()
    Console(file=page, width=_WIDTH, markup=False, emoji=False).print(table)
    notes = [f'note: source {layout.name!r}: {note}\n' for layout in layouts for note in layout.notes]
    return page.getvalue() + ''.join(notes)


def _described(sizes: Sizes) -> str:
    smallest, largest = (f'{width}x{height}' for width, height in (sizes.smallest, sizes.largest))
    return smallest if smallest == largest else f'{smallest} to {largest}'


def _described_objects(objects: Objects | None) -> str:
    return '-' if objects is None else f'{objects.per_image:.1f} an image, {objects.relative_size:.0%} of its side'
