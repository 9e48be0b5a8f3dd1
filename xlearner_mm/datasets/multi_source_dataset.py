"""Many datasets of many tasks behind one ``Dataset``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from xlearner_mm.datasets.source import Source, SourceError, parse_sources
from xlearner_mm.datasets.stream_index import StreamIndex
from xlearner_mm.registry import DATASETS


@DATASETS.register_module()
class MultiSourceDataset(Dataset):
    """Hold the unmodified datasets of all sources, each with its own pipeline, metainfo and scope.

    Indices run through the sources one after the other. mmengine's ``ConcatDataset`` refuses differing
    metainfo, which sources of different tasks always have.

    Args:
        sources: source name -> settings, see :class:`~xlearner_mm.datasets.source.Source`.
        lazy_init: leave reading the annotations to :meth:`full_init`. Defaults to False.

    Raises:
        SourceError: a dataset cannot be built or read, or is empty; the message names the source.
    """

    def __init__(self, sources: Mapping[str, Any], lazy_init: bool = False) -> None:
        self.sources: dict[str, Source] = parse_sources(sources)
        self.datasets: dict[str, Dataset] = {name: self._build(source) for name, source in self.sources.items()}
        self._initialised = False
        if not lazy_init:
            self.full_init()

    @staticmethod
    def _build(source: Source) -> Dataset:
        try:
            return DATASETS.build(dict(source.dataset))
        except Exception as error:
            raise SourceError(
                f"source '{source.name}': its dataset cannot be built: {error}; check {_settings(source)}"
            ) from error

    def full_init(self) -> None:
        """Read the annotations of every source. Does nothing the second time."""
        if self._initialised:
            return
        for name, dataset in self.datasets.items():
            try:
                if hasattr(dataset, 'full_init'):
                    dataset.full_init()
                size = len(dataset)  # type: ignore[arg-type]
            except Exception as error:
                raise SourceError(
                    f"source '{name}': its dataset cannot be read: {error}; check {_settings(self.sources[name])}"
                ) from error
            if size == 0:
                raise SourceError(
                    f"source '{name}': its dataset is empty; check the paths and filters of "
                    f'{self.sources[name].dataset}'
                )
        self._ends = list(accumulate(self.lengths.values()))
        self._initialised = True

    @property
    def lengths(self) -> dict[str, int]:
        """Images of every source, in the order of the sources."""
        return {name: len(dataset) for name, dataset in self.datasets.items()}  # type: ignore[arg-type]

    @property
    def offsets(self) -> dict[str, int]:
        """First index of every source."""
        return dict(zip(self.datasets, [0, *self._ends[:-1]], strict=True))

    @property
    def metainfo(self) -> dict[str, dict]:
        """The metainfo of every source's dataset, by source."""
        return {name: getattr(ds, 'metainfo', {}) for name, ds in self.datasets.items()}

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[str, int]:
        """Return the source of a global index and the index within that source."""
        if not 0 <= index < len(self):
            raise IndexError(f'index {index} is not within the {len(self)} images of all sources')
        position = bisect_right(self._ends, index)
        name = list(self.datasets)[position]
        return name, index - self.offsets[name]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``{'source': name, 'data': what that source's own pipeline gives}``.

        An index of a :class:`~xlearner_mm.datasets.MultiSourceSampler` brings the seed of its augmentation.

        Raises:
            SourceError: the source's pipeline fails; the message names the source and the image.
        """
        name, local = self.locate(index)
        try:
            with index.seeded() if isinstance(index, StreamIndex) else nullcontext():
                return {'source': name, 'data': self.datasets[name][local]}
        except Exception as error:
            raise SourceError(
                f"source '{name}': {self._describe(name, local)} cannot be read: {error}; replace the file, or take it "
                'out of the annotations'
            ) from error

    def _describe(self, name: str, local: int) -> str:
        dataset = self.datasets[name]
        info = dataset.get_data_info(local) if hasattr(dataset, 'get_data_info') else {}
        return info.get('img_path', f'item {local}')


def _settings(source: Source) -> str:
    """The settings that say where a source's dataset is, for messages."""
    where = {
        key: source.dataset[key] for key in ('type', 'data_root', 'ann_file', 'data_prefix') if key in source.dataset
    }
    return f'dataset settings {where}'
