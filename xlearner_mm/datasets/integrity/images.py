"""Reading of images: each fault names source and file, or the settings where all images share it."""

from __future__ import annotations

import io
import os.path as osp
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine import fileio
from mmengine.dataset import BaseDataset
from PIL import Image

from xlearner_mm.datasets.classes import classes_of, refuse_more_classes, refuse_stray_classes
from xlearner_mm.datasets.integrity.image_file import share_files
from xlearner_mm.datasets.integrity.inspection import Damage, Expected, Inspection, Mismatch
from xlearner_mm.datasets.stock_datasets import describe, leaves
from xlearner_mm.datasets.stream_index import augmentation_seeds, restored_generators, seed_generators
from xlearner_mm.errors import SourceError, bad_image, describe_error, one_line
from xlearner_mm.sources import Source, settings_named
from xlearner_mm.spread import spread

WITNESSES = 20
"""Further images that are tried before the settings are blamed."""
_TRIES = 20
"""Augmentations of one image that may leave nothing of it, such as crops without an object."""
_FILES = ('img_path', 'xml_path', 'seg_map_path', 'depth_map_path')
_MISSING_KEYS = {
    'mask': "an object without 'segmentation'; load no masks, or annotate them",
    'gt_label': 'images without labels',
    'inputs': 'no image is packed; its input_key names none of the pipeline',
    'seg_map_path': 'images without label maps; set data_prefix=dict(seg_map_path=...)',
}
"""Key that a pipeline lacks -> its cause."""
_OF_ONE_IMAGE = re.compile(r'\S*/\S*|[-+]?\d[\d.,e+-]*')


class ImageFault(Exception):
    """Fault of one image; ``own`` if its file alone can cause it. ``reason`` continues the image's path."""

    def __init__(self, reason: str, error: Exception, place: str = '', own: bool = False, loaded: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.error, self.place, self.own, self.loaded = reason, error, place, own, loaded

    @property
    def kind(self) -> tuple[str, str]:
        """Common key of similar faults: the place, and the reason without paths and numbers."""
        what = type(self.origin).__name__ if self.place else _OF_ONE_IMAGE.sub('', self.reason)
        return self.place, what

    @property
    def origin(self) -> BaseException:
        """The transform's exception, where ours only adds the name of a file."""
        return self.error.__cause__ or self.error if isinstance(self.error, Mismatch) else self.error


def fault_of(
    error: Exception, path: str, place: str = '', loaded: bool = False, backend_args: Any = None
) -> ImageFault:
    """Return the fault of an image from the exception of its pipeline.

    Args:
        error: the exception.
        path: of the image.
        place: the transform that raised it. Defaults to '': not known.
        loaded: whether the image had been loaded before. Defaults to False.
        backend_args: of its file backend. Defaults to None.
    """
    if isinstance(error, Mismatch):
        return ImageFault(str(error), error, place, own=isinstance(error, Damage))
    if loaded:
        return ImageFault(f'fails in {place}, which other images pass: {_explain(error)}', error, place, loaded=True)
    return ImageFault(f'cannot be read: {one_line(error)}', error, place, own=_is_unreadable(path, backend_args))


@dataclass
class Witnesses:
    """Further images of a source, spread evenly over it, which tell a fault of one image from one of the settings.

    The verdict depends on the source alone: all processes and resumed runs agree on it.

    Args:
        source: name of the source.
        length: number of its images.
        read: reads one image, as in training; raises :class:`ImageFault`.
    """

    source: str
    length: int
    read: Callable[[int], Any]
    _kinds: dict[int, tuple[str, str] | None] = field(default_factory=dict)

    def verdict(self, index: int, path: str, fault: ImageFault) -> SourceError:
        """Return the :class:`BadImageError` of an image, or a SourceError that blames the settings."""
        others = [i for i in spread(self.length, WITNESSES) if i != index]
        # A single image that has been loaded is not at fault for what a transform does with it.
        if fault.own or not (all(self._kind(i) == fault.kind for i in others) if others else fault.loaded):
            return bad_image(self.source, path, fault.reason)
        what = f'{fault.place} fails: {_explain(fault.origin)}' if fault.place else f'{path} {fault.reason}'
        whose = fault.place or 'the dataset or its pipeline'
        if isinstance(fault.origin, FileNotFoundError):
            whose = 'the dataset (data_root, data_prefix, suffixes)'
        tried = len(others) + 1
        # A transform that fails with every loaded image is set wrongly. Files that no loader reads, or that contradict
        # their annotations, may be wrong themselves, all of them.
        cleared = 'not the files' if fault.loaded else 'or, if these are right, the files or their annotations'
        return SourceError(
            f"source '{self.source}': {what}; so it is with every image tried, {tried} of {tried} (one is {path}): "
            f'correct the settings of {whose}, {cleared}'
        )

    def _kind(self, index: int) -> tuple[str, str] | None:
        if index not in self._kinds:
            self._kinds[index] = None
            try:
                with restored_generators():
                    seed_generators(*augmentation_seeds([(0, self.source, index)]))
                    self.read(index)
            except ImageFault as fault:
                self._kinds[index] = None if fault.own else fault.kind
            except (SourceError, MemoryError):
                pass
        return self._kinds[index]


class _GuardedReading:
    """Replacement of a dataset's ``prepare_data``, which silently substitutes a random image for None.

    An image of which the augmentation leaves nothing is augmented again; one that cannot be loaded or contradicts its
    annotations is an error.
    """

    def __init__(self, source: str, dataset: BaseDataset, expected: Expected, strict_paths: bool) -> None:
        self.source, self.dataset = source, dataset
        self.expected, self.strict_paths = expected, strict_paths
        self._witnesses: Witnesses | None = None
        prepare = type(dataset).prepare_data
        self._own = None if prepare is BaseDataset.prepare_data else prepare
        if self._own is None:
            share_files(dataset.pipeline.transforms)

    def __call__(self, index: int) -> Any:
        """Return the output of the pipeline for one image, or raise the verdict of :class:`Witnesses`."""
        try:
            return self._read(index)
        except ImageFault as fault:
            # The length of a dataset is known once its annotations are read.
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
            if self._own is not None:
                return self._own(self.dataset, index)
            inspection = Inspection(self.expected, info)
            data: Any = info
            transform: Any = None
            number = 0
            for number, transform in enumerate(self.dataset.pipeline.transforms):
                try:
                    data = transform(data)
                except (SourceError, MemoryError):
                    raise
                except Exception as error:  # whatever a stock transform raises
                    raise _fault_in(transform, number, error, inspection, path) from error
                if data is None:
                    if not inspection.has_image:
                        raise Damage('cannot be read: its loader returned None')
                    return None
                inspection.after(transform, data)
            if type(transform).__name__.startswith('Pack') and 'inputs' not in data:
                raise fault_of(KeyError('inputs'), path, place_of(transform, number), loaded=True)
            return data
        except (SourceError, MemoryError, ImageFault):
            raise
        except Exception as error:  # a Mismatch, or whatever a dataset's own method raises
            raise fault_of(error, path) from error


def _fault_in(transform: Any, number: int, error: Exception, inspection: Inspection, path: str) -> ImageFault:
    backend_args = getattr(transform, 'backend_args', None)
    return fault_of(inspection.named(error), path, place_of(transform, number), inspection.has_image, backend_args)


def guard(source: Source, dataset: Any) -> None:
    """Let the datasets of a source name source and file of images that cannot be used.

    Args:
        source: the source.
        dataset: its built training or validation set, wrappers included; others than MMEngine's are left unchanged.

    Raises:
        SourceError: it has more classes than the source's head.
    """
    refuse_stray_classes(f"source '{source.name}'", dataset)
    refuse_more_classes(source, dataset)
    classes = source.head_classes
    if classes is None:
        classes = len(classes_of(dataset)) or None
    for leaf in leaves(dataset):
        expected = Expected(classes, ignored_value(source, leaf))
        leaf.prepare_data = _GuardedReading(source.name, leaf, expected, source.strict_paths)


def guard_stock(dataset: Any) -> None:
    """Let the dataset of a stock training name its class and file of images that cannot be used.

    Datasets in ``test_mode`` substitute no images and are left unchanged.
    """
    refuse_stray_classes('train_dataloader', dataset)
    for leaf in leaves(dataset):
        if not leaf.test_mode:
            expected = Expected(len(classes_of(leaf)) or None, ignored_value(None, leaf))
            leaf.prepare_data = _GuardedReading(type(leaf).__name__, leaf, expected, strict_paths=False)


def ignored_value(source: Source | None, dataset: BaseDataset) -> int:
    """Return the value of a label map's pixels without a class, of the source's network or else of the dataset."""
    named = settings_named('ignore_index', source.network) if source is not None else ()
    return next((value for _, value in named if isinstance(value, int)), getattr(dataset, 'ignore_index', 255))


def check_paths(source: str, dataset: Any, info: Mapping[str, Any]) -> None:
    """Raise a SourceError for file names in annotations that lead out of ``data_root`` and ``data_prefix``.

    Symbolic links within these folders are followed.
    """
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    named = [getattr(dataset, 'data_root', None), *(prefixes.values() if isinstance(prefixes, Mapping) else [prefixes])]
    folders = list(dict.fromkeys(folder for folder in named if isinstance(folder, str) and folder))
    if not folders:
        raise SourceError(f"source '{source}': strict_paths needs the dataset's data_root")
    for key in _FILES:
        name = info.get(key)
        if isinstance(name, str) and not any(_is_within(name, folder) for folder in folders):
            raise SourceError(
                f"source '{source}': the annotations name {key} {name!r}, which is out of {' and '.join(folders)}: "
                'correct them, or trust them and set strict_paths=False'
            )


def place_of(transform: Any, number: int) -> str:
    """Return class and position of a transform, for messages."""
    return f'transform {type(transform).__name__} (pipeline[{number}])'


def _is_within(name: str, folder: str) -> bool:
    root, below = osp.abspath(folder), osp.abspath(name)
    return below == root or below.startswith(root + osp.sep)


def _explain(error: BaseException) -> str:
    """Describe an exception, and for a missing key its cause."""
    cause = _MISSING_KEYS.get(error.args[0]) if isinstance(error, KeyError) and error.args else None
    return describe_error(error) + (f' ({cause})' if cause else '')


def _is_unreadable(path: str, backend_args: Any) -> bool:
    """Return whether a file exists, but is not an image."""
    try:
        content = fileio.get(path, backend_args=backend_args)
    except Exception:  # whatever a backend raises: a missing file may be due to a wrong folder
        return False
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    except Image.DecompressionBombError:
        pass
    return False
