"""Classes that label maps hold: editors write masks of 0 and 255, and 255 is no class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.categories import classes_of, origin, shortened
from xlearner_mm.spread import spread

_OPENED = 32


@dataclass(frozen=True)
class MapValues:
    """Values of some label maps of a data set, as its pipeline loads them.

    Args:
        where: the folder of the maps, or what stands for it.
        classes: names of the classes.
        ignored: the value of pixels that have no class.
        total: maps of the data set.
        opened: how many of them were opened.
        counts: value -> in how many of these it is.
    """

    where: str
    classes: tuple[str, ...]
    ignored: int
    total: int
    opened: int
    counts: Counter[int]

    @property
    def missing(self) -> list[str]:
        """Classes that none of the opened maps holds."""
        return [name for label, name in enumerate(self.classes) if not self.counts[label]]

    def problem(self) -> str | None:
        """Return why nothing can be learned from the maps: they tell no class from another. None if they do."""
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
        """Return which classes none of the opened maps holds; None if they hold all."""
        if not self.missing:
            return None
        absent = f'{len(self.missing)} of the {len(self.classes)} classes: {shortened(self.missing)}'
        return f'{self.where}: {self._which()} do not hold {absent}'

    def _which(self) -> str:
        return (
            f'all {self.total:,} label maps'
            if self.opened == self.total
            else (f'the {self.opened:,} label maps that were opened, of {self.total:,},')
        )


def values_of_maps(dataset: BaseDataset, ignored: int, count: int | None = _OPENED) -> MapValues | None:
    """Open some label maps of a data set; those that cannot be read are left to whoever trains on them.

    Args:
        dataset: one that has read its annotations.
        ignored: the value of pixels that have no class.
        count: how many are opened, spread evenly over the data set; None opens all. Defaults to 32.

    Returns:
        Their values; None for a data set without label maps or classes.
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
        except Exception:  # it is told by its name where the image is read
            continue
        if 'gt_seg_map' in data:
            counts.update(np.unique(data['gt_seg_map']).tolist())
            opened += 1
    where = str(dataset.data_prefix.get('seg_map_path') or origin(dataset))
    return MapValues(where, tuple(classes), ignored, total, opened, counts) if opened else None
