"""Read the images of a stock dataset, and say so where one cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.categories import classes_of
from xlearner_mm.datasets.integrity.inspection import Damage, Expected, Inspection, Mismatch
from xlearner_mm.datasets.integrity.paths import check_paths
from xlearner_mm.datasets.shared_faults import ImageFault, Witnesses, fault_of, place_of
from xlearner_mm.errors import SourceError
from xlearner_mm.sources import Source, settings_named

_STRAY = ('__MACOSX', '__pycache__', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')
"""Folders that systems and programs create; others begin with a dot."""
_TRIES = 20
"""Augmentations of one image that may leave nothing of it, such as crops without an object."""


class GuardedReading:
    """What stands in the place of a dataset's ``prepare_data``.

    MMEngine's datasets take another image at random when a pipeline returns None, and say nothing. Here an image whose
    augmentation leaves nothing is augmented anew; one that cannot be loaded, or does not fit its annotations, is an
    error. Where other images fail in the same way, the error is of the settings, see
    :class:`~xlearner_mm.datasets.shared_faults.Witnesses`.

    Args:
        source: the source's name, for messages.
        dataset: a dataset of mmdet, mmseg, mmpretrain or MMEngine.
        expected: what holds for all images of the source.
        strict_paths: refuse files out of the dataset's folders.
    """

    def __init__(self, source: str, dataset: BaseDataset, expected: Expected, strict_paths: bool) -> None:
        self.source, self.dataset = source, dataset
        self.expected, self.strict_paths = expected, strict_paths
        self._witnesses: Witnesses | None = None

    def __call__(self, index: int) -> Any:
        """Return what the pipeline makes of one image.

        Raises:
            BadImageError: it cannot be used; the message names source and file.
            SourceError: its file is out of the dataset's folders, or every image fails as this one does.
        """
        try:
            return self._read(index)
        except ImageFault as fault:
            # Built when wanted: a dataset knows its length when its annotations are read.
            self._witnesses = self._witnesses or Witnesses(self.source, len(self.dataset), self._read)
            path = describe(self.dataset.get_data_info(index), index)
            raise self._witnesses.verdict(index, path, fault) from fault.error

    def _read(self, index: int) -> Any:
        for _ in range(_TRIES):
            info = self.dataset.get_data_info(index)
            path = describe(info, index)
            if self.strict_paths:
                check_paths(self.source, self.dataset, info)
            data = self._prepare(index, info, path)
            if data is not None:
                return data
        raise fault_of(Mismatch(f'has nothing left of it after its augmentation, in {_TRIES} tries'), path)

    def _prepare(self, index: int, info: dict[str, Any], path: str) -> Any:
        try:
            if type(self.dataset).prepare_data is not BaseDataset.prepare_data:
                return type(self.dataset).prepare_data(self.dataset, index)
            inspection = Inspection(self.expected, info)
            data: Any = info
            transform: Any = None
            number = 0
            for number, transform in enumerate(self.dataset.pipeline.transforms):
                data = _transformed(transform, number, data, inspection, path)
                if data is None:
                    if not inspection.has_image:
                        raise Damage('cannot be read: its loader gave nothing and did not say why')
                    return None
                inspection.after(transform, data)
            if type(transform).__name__.startswith('Pack') and 'inputs' not in data:
                raise fault_of(KeyError('inputs'), path, place_of(transform, number), loaded=True)
            return data
        except (SourceError, MemoryError, ImageFault):
            raise
        except Exception as error:  # a Mismatch, or whatever a dataset's own method raises
            raise fault_of(error, path) from error


def _transformed(transform: Any, number: int, data: Any, inspection: Inspection, path: str) -> Any:
    try:
        with inspection.naming_maps():
            return transform(data)
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # whatever a stock transform raises
        backend_args = getattr(transform, 'backend_args', None)
        raise fault_of(error, path, place_of(transform, number), inspection.has_image, backend_args) from error


def guard(source: Source, dataset: Any) -> None:
    """Let a built dataset, and those within it, name their source and file where an image cannot be used.

    Args:
        source: whose training or validation set it is.
        dataset: any dataset; of those that are not MMEngine's, nothing is changed.

    Raises:
        SourceError: it has more classes than the source's head.
    """
    refuse_stray_classes(f"source '{source.name}'", dataset)
    refuse_more_classes(source, dataset)
    head, classes = source.head_classes, _classes(dataset)
    for leaf in leaves(dataset):
        expected = Expected(head if head is not None else classes, ignored_value(source, leaf))
        leaf.prepare_data = GuardedReading(source.name, leaf, expected, source.strict_paths)


def ignored_value(source: Source | None, dataset: BaseDataset) -> int:
    """Return the value of a label map's pixels that have no class.

    Args:
        source: whose network may say so; None for a training on one stock data set.
        dataset: says so otherwise.
    """
    named = settings_named('ignore_index', source.network) if source is not None else ()
    return next((value for _, value in named if isinstance(value, int)), getattr(dataset, 'ignore_index', 255))


def guard_stock(dataset: Any) -> None:
    """Let a stock training's data set, and those within it, name file and class where an image cannot be used.

    Args:
        dataset: any dataset. Sets in ``test_mode`` already refuse to take another image, and are left as they are.
    """
    refuse_stray_classes('train_dataloader', dataset)
    for leaf in leaves(dataset):
        if not leaf.test_mode:
            expected = Expected(_classes(leaf), getattr(leaf, 'ignore_index', 255))
            leaf.prepare_data = GuardedReading(type(leaf).__name__, leaf, expected, strict_paths=False)


def refuse_stray_classes(owner: str, dataset: Any) -> None:
    """Refuse classes that are no classes, but folders that programs leave beside them.

    Their names come first in the order of folders: all other labels would be shifted.

    Args:
        owner: whose data set it is, for the message.
        dataset: a data set whose classes are known.

    Raises:
        SourceError: names the folders.
    """
    stray = stray_names(classes_of(dataset))
    if stray:
        read = [leaf.data_prefix.get('img_path') or leaf.data_root for leaf in leaves(dataset)]
        raise SourceError(
            f'{owner}: its dataset takes {stray} of {_named(read, dataset)} for classes, which other programs leave '
            'behind: delete these folders'
        )


def stray_names(classes: Any) -> list[str]:
    """Return those of the names of classes that are folders which other programs leave behind.

    Args:
        classes: names, or None.
    """
    return [name for name in classes or () if isinstance(name, str) and (name[:1] == '.' or name in _STRAY)]


def refuse_more_classes(source: Source, dataset: Any) -> None:
    """Refuse a data set of more classes than its source's head has, as far as both say; it may be unread.

    Args:
        source: the source.
        dataset: its training or validation set.

    Raises:
        SourceError: it has more; the message names source and file.
    """
    head, classes = source.head_classes, _classes(dataset)
    if classes is not None and head is not None and classes > head:
        read = [leaf.ann_file or leaf.data_root for leaf in leaves(dataset)]
        raise SourceError(
            f"source '{source.name}': its dataset has {classes} classes, but its head {head} (read from "
            f'{_named(read, dataset)}): set its num_classes, or mend the file'
        )


def _named(read: list[str], dataset: Any) -> str:
    return ', '.join(dict.fromkeys(filter(None, read))) or type(dataset).__name__


def _classes(dataset: Any) -> int | None:
    return len(classes_of(dataset)) or None


def leaves(dataset: Any) -> Iterator[BaseDataset]:
    """Find MMEngine's datasets below wrappers, such as those that concatenate or repeat."""
    if isinstance(dataset, BaseDataset):
        yield dataset
        return
    for part in [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else [])]:
        yield from leaves(part)


def describe(info: Mapping[str, Any], index: int) -> str:
    """Return an image's path, or what stands for it."""
    return str(info.get('img_path') or f'item {index}')
