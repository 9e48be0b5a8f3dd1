"""Segmentation as ADE20K has it: ``img_dir/{split}/*.jpg`` and ``ann_dir/{split}/*.png``.

Mask values: 0 background, ``i + 1`` class ``i``, 255 ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_map, save_photo
from xlearner_mm.mini.sample import Sample


def write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split."""
    for number, sample in enumerate(samples):
        assert sample.mask is not None  # the recipe of a segmentation set gives one
        save_photo(root / 'img_dir' / split / f'{number:05d}.jpg', sample.image)
        save_map(root / 'ann_dir' / split / f'{number:05d}.png', sample.mask)
