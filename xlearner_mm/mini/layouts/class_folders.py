"""Class folders, as ImageNet has them: ``{split}/{class}/{number}.jpg`` or ``.png``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_photo
from xlearner_mm.mini.sample import Sample


def _write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample], suffix: str) -> None:
    for number, sample in enumerate(samples):
        name = f'{number:05d}{suffix}'
        save_photo(root / split / entry.classes[sample.label] / name, sample.image)


write_jpg = partial(_write, suffix='.jpg')
write_png = partial(_write, suffix='.png')
