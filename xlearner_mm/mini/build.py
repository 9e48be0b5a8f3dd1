"""Writing XL-Mini to disk: one set at a time, atomically, each with a contact sheet."""

from __future__ import annotations

import colorsys
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from zlib import crc32

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xlearner_mm.errors import ConfigError
from xlearner_mm.mini.catalog import CATALOG, IGNORE, IMAGE_SIZE, VERSION, MiniSet, Sample
from xlearner_mm.mini.depth import FARTHEST
from xlearner_mm.mini.layouts import WRITERS
from xlearner_mm.mini.material import font_file
from xlearner_mm.mini.recipes import RECIPES

MARKER = 'xl_mini.json'
"""File in a set's folder with its version, seed and counts; written last."""

_SHEET = 48  # pictures on a contact sheet
_COLUMNS = 8
_ZOOM = 2
_TEXT = 14  # height of the line under a picture, in pixels

Report = Callable[[str], None]


def make_mini(
    root: str | os.PathLike[str],
    seed: int = 0,
    only: Iterable[str] | None = None,
    scale: float = 1.0,
    report: Report = lambda line: None,
) -> list[Path]:
    """Write XL-Mini, with a contact sheet of each set in ``sheets/``.

    Complete sets of the same seed, scale and version are kept.

    Args:
        root: folder to write to, created if missing.
        seed: determines every byte. Defaults to 0.
        only: names of the sets to write. Defaults to all.
        scale: factor of the number of pictures. Defaults to 1.
        report: called with a line of text for every set. Defaults to nothing.

    Returns:
        The folders of the sets, in the order of ``CATALOG``.

    Raises:
        ConfigError: an unknown set, or a scale that is not positive.
        OSError: ``root`` cannot be written to.
        MaterialError: an installed package lacks a picture or a font.
    """
    base = _writable(Path(root))
    if scale <= 0:
        raise ConfigError(f'scale must be positive, got {scale}')
    entries = _chosen(only)
    for number, entry in enumerate(entries, start=1):
        counts = entry.scaled(scale)
        made = _make_set(base, entry, seed, counts)
        sheet = base / 'sheets' / f'{entry.name}.png'
        shown = min(_SHEET, counts[entry.held_out])
        if made or not sheet.is_file():
            save_sheet(sheet, entry, _samples(entry, entry.held_out, seed, shown))
        total = ', '.join(f'{n} {split}' for split, n in counts.items())
        state = 'written' if made else 'there already'
        report(f'[{number}/{len(entries)}] {entry.name} ({entry.role}, {entry.task}): {total}: {state}')
    return [base / entry.name for entry in entries]


def is_complete(folder: Path, seed: int, counts: dict[str, int]) -> bool:
    """Return whether a set's folder is complete for this version, seed and counts."""
    try:
        return json.loads((folder / MARKER).read_text()) == _marker(seed, counts)
    except (OSError, ValueError):
        return False


def _marker(seed: int, counts: dict[str, int]) -> dict[str, object]:
    return {'version': VERSION, 'seed': seed, 'counts': counts}


def _writable(root: Path) -> Path:
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Unique per process: two may write sets of one root concurrently.
        probe = root / f'.writable-{os.getpid()}'
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f'XL-Mini cannot be written to {root}: {error}') from error
    return root


def _chosen(only: Iterable[str] | None) -> list[MiniSet]:
    if only is None:
        return list(CATALOG.values())
    names = set(only)
    unknown = sorted(names - set(CATALOG))
    if unknown:
        raise ConfigError(f'unknown sets {unknown}; XL-Mini has {list(CATALOG)}')
    return [entry for entry in CATALOG.values() if entry.name in names]


def _make_set(root: Path, entry: MiniSet, seed: int, counts: dict[str, int]) -> bool:
    """Write a set unless it is complete; return whether it was written."""
    final, aside = root / entry.name, root / f'.{entry.name}.partial'
    if is_complete(final, seed, counts):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    for split, count in counts.items():
        WRITERS[entry.layout](aside, entry, split, _samples(entry, split, seed, count))
    (aside / MARKER).write_text(json.dumps(_marker(seed, counts)))
    # Replaced by renaming, so that a training that reads the old set keeps its files.
    old = root / f'.{entry.name}.old'
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    aside.rename(final)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _samples(entry: MiniSet, split: str, seed: int, count: int) -> Iterator[Sample]:
    """Yield the pictures of a split, each seeded by its own number."""
    recipe = RECIPES[entry.name]
    for index in range(count):
        key = [seed, crc32(entry.name.encode()), crc32(split.encode()), index]
        yield recipe(np.random.default_rng(key), index, split == entry.held_out)


def save_sheet(path: Path, entry: MiniSet, samples: Iterable[Sample]) -> None:
    """Write a PNG with samples of a set and their labels."""
    tiles = [_tile(entry, sample) for sample in samples]
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new('RGB', (_COLUMNS * (width + 4), rows * (height + 4) + 20), 'white')
    title = f'{entry.name} ({entry.role}, {entry.task}): {entry.about}'
    ImageDraw.Draw(sheet).text((4, 2), title, fill='black', font=_font(12))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (column * (width + 4) + 2, row * (height + 4) + 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file('DejaVuSans')), size)


def _color(label: int, count: int) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(label / count, 0.9, 1)
    return round(r * 255), round(g * 255), round(b * 255)


def _enlarged(image: np.ndarray) -> Image.Image:
    side = IMAGE_SIZE * _ZOOM
    return Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)


def _tile(entry: MiniSet, sample: Sample) -> Image.Image:
    """Return the picture, its mask or depth to the right, and its class names below."""
    parts = [_enlarged(sample.image)]
    if sample.mask is not None:
        parts.append(_enlarged(_colored_mask(sample.mask, len(entry.classes))))
    elif sample.depth is not None:
        colored = matplotlib.colormaps['turbo'](1 - sample.depth / FARTHEST)[..., :3]
        parts.append(_enlarged((colored * 255).astype(np.uint8)))
    side = IMAGE_SIZE * _ZOOM
    tile = Image.new('RGB', (side * len(parts), side + _TEXT), 'white')
    for place, part in enumerate(parts):
        tile.paste(part, (place * side, 0))
    pen = ImageDraw.Draw(tile)
    count = max(1, len(entry.classes))
    if sample.mask is None:
        for instance in sample.instances:
            corners = [_ZOOM * v for v in instance.box]
            pen.rectangle(corners, outline=_color(instance.label, count), width=2)
    words = _words(entry, sample)
    at = 2.0
    for text, label in words:
        fill = 'black' if label < 0 else tuple(int(c * 0.75) for c in _color(label, count))
        pen.text((at, side), text, fill=fill, font=_font(10))
        at += pen.textlength(text + ' ', font=_font(10))
    return tile


def _words(entry: MiniSet, sample: Sample) -> list[tuple[str, int]]:
    """Return the words of the caption with the labels of their colors, -1 for black."""
    if sample.depth is not None:
        return [(f'{sample.depth.min():.1f} to {sample.depth.max():.1f} m', -1)]
    if sample.label >= 0:
        return [(entry.classes[sample.label], -1)]
    return [(entry.classes[instance.label], instance.label) for instance in sample.instances]


def _colored_mask(mask: np.ndarray, count: int) -> np.ndarray:
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[1 : count + 1] = [_color(label, count) for label in range(count)]
    colors[IGNORE] = 255
    return colors[mask]
