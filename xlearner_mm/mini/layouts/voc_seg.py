"""PASCAL VOC segmentation, below ``VOC2012``; masks are palette PNGs with 255 at outlines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_lines, save_map, save_photo
from xlearner_mm.mini.sample import Sample


def write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split."""
    base = root / 'VOC2012'
    palette = voc_palette()
    names = []
    for number, sample in enumerate(samples):
        assert sample.mask is not None  # the recipe of a segmentation set gives one
        name = f'{split}_{number:06d}'
        names.append(name)
        save_photo(base / 'JPEGImages' / f'{name}.jpg', sample.image)
        save_map(base / 'SegmentationClass' / f'{name}.png', sample.mask, palette)
    save_lines(base / 'ImageSets' / 'Segmentation' / f'{split}.txt', names)


def voc_palette() -> list[int]:
    """Return VOC's colours of the values 0 to 255: three times 256 numbers."""
    palette = []
    for value in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((value >> (3 * bit + channel)) & 1) << (7 - bit)
        palette += rgb
    return palette
