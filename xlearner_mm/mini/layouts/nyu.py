"""NYU-Depth V2: ``images/{split}/*.jpg``, ``annotations/{split}/*.png``.

The maps are 16 bit, in millimetres.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_map, save_photo
from xlearner_mm.mini.sample import Sample


def write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split."""
    for number, sample in enumerate(samples):
        assert sample.depth is not None  # the recipe of a depth set gives one
        millimetres = np.round(sample.depth * 1000).astype(np.uint16)
        save_photo(root / 'images' / split / f'{number:05d}.jpg', sample.image)
        save_map(root / 'annotations' / split / f'{number:05d}.png', millimetres)
