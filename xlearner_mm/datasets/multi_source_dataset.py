"""The datasets of all sources as one ``Dataset``, and its collate function."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from xlearner_mm.datasets.annotation_cache import AnnotationCache
from xlearner_mm.datasets.integrity.annotations import Findings, read_annotations
from xlearner_mm.datasets.integrity.images import Witnesses, fault_of, guard
from xlearner_mm.datasets.shared_annotations import is_copy, read_once
from xlearner_mm.datasets.stock_datasets import build_deferred, describe, leaves
from xlearner_mm.datasets.stream_index import (
    StreamIndex,
    augmentation_seeds,
    restored_generators,
    seed_generators,
    stream_image,
)
from xlearner_mm.errors import BadImageError, SourceError, one_line
from xlearner_mm.registry import DATASETS, FUNCTIONS
from xlearner_mm.sources import Source, parse_sources
from xlearner_mm.spread import classes_to_draw_by, stratified

REPLACED = 'replaced_images'
"""Key in a sample's metainfo: ``[[path, reason], ...]`` of the bad images that it replaces."""


@DATASETS.register_module()
class MultiSourceDataset(Dataset):
    """Hold the unmodified datasets of all sources, each with its own pipeline, metainfo and scope.

    Indices run through the sources one after the other. MMEngine's ``ConcatDataset`` refuses differing metainfo, which
    sources of different tasks always have.

    By its source's ``bad_data``, an image that cannot be used ends the training or is replaced by the next readable one
    of the source's stream, on which all ranks and resumed runs agree.

    Args:
        sources: source name -> settings, see :class:`~xlearner_mm.sources.Source`. ``XLearnerRunner.from_cfg`` passes
            those at the top level of a config. Required.
        lazy_init: read the annotations in :meth:`full_init` only. Defaults to False.
        annotation_cache: a folder, or settings of an :class:`~xlearner_mm.datasets.annotation_cache.AnnotationCache`,
            where the annotations of large datasets are kept for the next start. Defaults to None: nowhere.
            ``XLearnerRunner`` takes ``annotation_cache`` in the work directory unless this is set.

    Attributes:
        bad_images: source name -> path -> reason of the images that this process has skipped.
        images: source name -> number of images that are trained on, including the same share of those left out for
            bad annotations.
        images_per_step: source name -> images of a batch, set by the sampler; None without one.

    Raises:
        SourceError: a dataset cannot be built or read, is empty, or has more classes than its head.
    """

    def __init__(
        self,
        sources: Mapping[str, Any] | None = None,
        lazy_init: bool = False,
        annotation_cache: str | Mapping[str, Any] | None = None,
    ) -> None:
        self._cache = AnnotationCache.parse(annotation_cache)
        self.sources: dict[str, Source] = parse_sources(sources)
        self.datasets: dict[str, Dataset] = {name: self._build(source) for name, source in self.sources.items()}
        self.bad_images: dict[str, dict[str, str]] = {name: {} for name in self.sources}
        self.images: dict[str, int] = {}
        self._bad_elsewhere: dict[str, int] = {}
        self.images_per_step: Mapping[str, int] | None = None
        self._initialized = False
        if not lazy_init:
            self.full_init()

    @staticmethod
    def _build(source: Source) -> Dataset:
        try:
            return build_deferred(source.dataset)
        except Exception as error:
            raise SourceError(
                f"source '{source.name}': its dataset cannot be built: {one_line(error)}; check {_settings(source)}"
            ) from error

    def full_init(self) -> None:
        """Read the annotations of every source, once."""
        if self._initialized:
            return
        for source in self.sources.values():
            self._read(source)
        self._ends = list(accumulate(self.lengths.values()))
        self._starts = list(zip(self.datasets, [0, *self._ends[:-1]], strict=True))
        self._initialized = True

    def _read(self, source: Source) -> None:
        dataset: Any = self.datasets[source.name]
        try:
            parts = list(leaves(dataset))
            found = read_once(lambda: read_share(source, dataset, parts, self._cache), parts)
            size = len(dataset)
            different = min(size, sum(map(len, parts))) if parts else size  # wrappers may repeat images
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"source '{source.name}': its dataset cannot be read: {error}; check {_settings(source)}"
            ) from error
        if size == 0:
            raise SourceError(
                f"source '{source.name}': its dataset is empty; check the paths and filters of {source.dataset}"
            )
        self._count(source.name, found, different)
        guard(source, dataset)

    def _count(self, name: str, found: Findings, used: int) -> None:
        """Count a source's images of which bad ones may be a share, given what was found and how many are used."""
        # Bad annotations are found among all images, also where `data_fraction`, `indices` or a filter take some.
        bad = len(found.bad)
        among = min(bad, bad * used // (found.images - bad)) if bad else 0
        self.bad_images[name], self.images[name], self._bad_elsewhere[name] = found.bad, used + among, bad - among

    def refuse_more(self, name: str, bad: dict[str, str]) -> None:
        """Refuse more bad images of a source, path -> reason with those of its annotations, than it allows.

        Raises:
            SourceError: too many; the message names the last one.
        """
        self.sources[name].bad_data.refuse_more(name, bad, self.images[name], self._bad_elsewhere[name])

    @property
    def lengths(self) -> dict[str, int]:
        """Images of every source, in the order of the sources."""
        return {name: len(dataset) for name, dataset in self.datasets.items()}  # type: ignore[arg-type]

    @property
    def offsets(self) -> dict[str, int]:
        """First index of every source."""
        return dict(self._starts)

    @property
    def metainfo(self) -> dict[str, dict]:
        """The metainfo of every source's dataset, by source."""
        return {name: getattr(ds, 'metainfo', {}) for name, ds in self.datasets.items()}

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[str, int]:
        """Return the source of a global index and the index within that source."""
        if not 0 <= index < self._ends[-1]:
            raise IndexError(f'index {index} is not within the {len(self)} images of all sources')
        name, start = self._starts[bisect_right(self._ends, index)]
        return name, index - start

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``{'source': name, 'data': output of its pipeline}``; a :class:`StreamIndex` seeds the augmentation.

        Raises:
            SourceError: an image cannot be used, or more than the source allows; the message names source and image.
        """
        return self._items([index])[0]

    def _items(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        places = [index.place for index in indices if isinstance(index, StreamIndex)]
        if len(places) < len(indices):
            return [self._item(index, None) for index in indices]
        with restored_generators():
            return list(map(self._item, indices, augmentation_seeds(places)))

    def _item(self, index: int, seed: int | None) -> dict[str, Any]:
        name, local = self.locate(index)
        replaced: list[list[str]] = []
        for candidate in self._candidates(index, name, local):
            try:
                if seed is not None:
                    seed_generators(seed)
                data = self._load(name, candidate)
            except BadImageError as error:
                self._skip(name, error)
                replaced.append([error.path, error.reason])
                continue
            if replaced:
                _mark(name, data, replaced)
            return {'source': name, 'data': data}
        raise SourceError(f"source '{name}': none of its images can be used; the last: {' '.join(replaced[-1])}")

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the samples of one batch of a loader.

        Raises:
            SourceError: the batch is not a step of the sampler, or as for one image.
        """
        _refuse_other_batches(self, Counter(self.locate(index)[0] for index in indices))
        return self._items(indices)

    def _candidates(self, index: int, name: str, local: int) -> Iterator[int]:
        """Yield an image's index within its source, then those of its replacements."""
        yield local
        length = self.lengths[name]
        for further in range(1, 2 * length):
            if isinstance(index, StreamIndex):
                seed, source, position = index.place
                yield stream_image((seed, source, position + further), length)
            else:
                yield (local + further) % length

    def _load(self, name: str, local: int) -> Any:
        try:
            return self.datasets[name][local]
        except (SourceError, MemoryError):
            raise
        except Exception as error:  # of a wrapper around datasets, or of a dataset that is not MMEngine's
            path = self._path(name, local)
            witnesses = Witnesses(name, self.lengths[name], lambda index: self._witness(name, index))
            raise witnesses.verdict(local, path, fault_of(error, path)) from error

    def _witness(self, name: str, local: int) -> None:
        try:
            self.datasets[name][local]
        except Exception as error:
            raise fault_of(error, self._path(name, local)) from error

    def _path(self, name: str, local: int) -> str:
        dataset = self.datasets[name]
        return describe(dataset.get_data_info(local) if hasattr(dataset, 'get_data_info') else {}, local)

    def _skip(self, name: str, error: BadImageError) -> None:
        """Record a bad image, or raise its error."""
        if not self.sources[name].bad_data.skips:
            raise error
        self.bad_images[name][error.path] = error.reason
        self.refuse_more(name, self.bad_images[name])


def _refuse_other_batches(dataset: MultiSourceDataset, found: Mapping[str, int]) -> None:
    """Refuse a batch in which sources have other shares (name -> images) than in a step of the sampler."""
    expected = dataset.images_per_step
    if expected is None:
        raise SourceError(
            'train_dataloader.sampler is not a MultiSourceSampler, without which sources have no fixed share of a '
            f"batch: set sampler=dict(type='MultiSourceSampler'); this batch is of {dict(found)}"
        )
    if dict(found) != dict(expected):
        refuse_batch_size(sum(found.values()), expected)
        raise SourceError(
            f'a batch is of {dict(found)}, but a step takes {dict(expected)}: leave train_dataloader.batch_sampler '
            "out, so that batches are the sampler's steps"
        )


def refuse_batch_size(batch_size: int | None, expected: Mapping[str, int]) -> None:
    """Refuse a dataloader whose batches are not the steps of its sampler.

    Args:
        batch_size: of the dataloader.
        expected: source name -> images of a step.

    Raises:
        SourceError: names both numbers.
    """
    wanted = sum(expected.values())
    if batch_size != wanted:
        raise SourceError(
            f'train_dataloader.batch_size is {batch_size}, but the sources take {wanted} images a step: '
            f'{dict(expected)}; set batch_size={wanted}'
        )


def _mark(name: str, data: Any, replaced: list[list[str]]) -> None:
    """Record in a sample which images it replaces, for the main process."""
    sample = data.get('data_samples') if isinstance(data, Mapping) else None
    if not isinstance(sample, BaseDataElement):
        raise SourceError(
            f"source '{name}': bad_data.policy='skip' needs a pipeline that ends with its library's Pack transform: "
            f'without it, nothing reports that {" ".join(replaced[0])}'
        )
    sample.set_metainfo({REPLACED: replaced})


def _settings(source: Source) -> str:
    """Describe the location of a source's dataset."""
    where = {
        key: source.dataset[key] for key in ('type', 'data_root', 'ann_file', 'data_prefix') if key in source.dataset
    }
    return f'dataset settings {where}'


@FUNCTIONS.register_module()
def multi_source_collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Group samples by source and collate each group as the stock libraries do.

    Args:
        samples: items of :class:`MultiSourceDataset`.

    Returns:
        ``{'coco': {'inputs': [...], 'data_samples': [...]}, 'imagenet': ...}``, in the order of first appearance.
        Images stay a list: those of a detection source differ in size until its data preprocessor pads them.
    """
    groups: dict[str, list] = {}
    for sample in samples:
        groups.setdefault(sample['source'], []).append(sample['data'])
    return {source: pseudo_collate(group) for source, group in groups.items()}


def read_share(
    source: Source, dataset: Any, parts: list[BaseDataset], cache: AnnotationCache | None = None
) -> Findings:
    """Read a source's annotations, and keep its ``data_fraction`` of them.

    Args:
        source: the source.
        dataset: its dataset, wrappers included.
        parts: the datasets below the wrappers.
        cache: where annotations are kept for the next time. Defaults to None: nowhere.

    Returns:
        What was found in all annotations.

    Raises:
        SourceError: a share of a dataset with wrappers.
        Exception: of :func:`~xlearner_mm.datasets.integrity.annotations.read_annotations`.
    """
    findings = read_annotations(source, dataset, parts, cache=cache)
    if source.data_fraction < 1 and not is_copy(parts):  # these are the share that the reader has drawn
        if parts != [dataset]:
            raise SourceError(
                f"source '{source.name}': data_fraction={source.data_fraction} needs an MMEngine dataset without "
                f'wrappers, got {type(dataset).__name__}; set `indices` of the datasets in it'
            )
        rng = np.random.default_rng(zlib.crc32(source.name.encode()))
        dataset.get_subset_(stratified(classes_to_draw_by(dataset), source.data_fraction, rng).tolist())
    return findings
