"""From checkpoints to the picture of their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xlearner_mm.checkpoint import resolve_checkpoint
from xlearner_mm.errors import ConfigError
from xlearner_mm.visualization.feature_columns import Column, ColumnGroup, Snapshot, group_columns, take_snapshots
from xlearner_mm.visualization.png import blank_figure, save_png
from xlearner_mm.visualization.sample_images import SampleImage, images_of_files, images_of_sources
from xlearner_mm.visualization.trained_model import TrainedModel, load_trained


def draw_features(
    checkpoints: Sequence[str],
    out: Path,
    levels: Sequence[int] = (1,),
    files: Sequence[Path] = (),
    sources: Sequence[str] = (),
    count: int = 1,
    config: str | None = None,
    options: Sequence[str] = (),
) -> None:
    """Draw the features of branches and student of some checkpoints on the same images.

    Args:
        checkpoints: of either stage, of one training or of several with the same branches and sources.
        out: the PNG; whole or not there.
        levels: the levels i, one block of rows each. Defaults to (1,).
        files: image files to look at. Defaults to (): validation images.
        sources: whose validation images, or (the first) whose pipeline reads the files. Defaults to (): all.
        count: validation images of every source. Defaults to 1.
        config: the training's config. Defaults to None: the one beside each checkpoint.
        options: ``KEY=VALUE`` overrides of the config.

    Raises:
        CheckpointError: a checkpoint that cannot be read, or not with this config or teacher.
        SourceError: a source without validation images.
        FileNotFoundError: a config or an image that is not there.
        ConfigError: a level that is not there to look at, or checkpoints of different branches.
    """
    paths = [resolve_checkpoint(checkpoint) for checkpoint in checkpoints]
    several = len({Path(path).parent for path in paths}) > 1
    images: list[SampleImage] = []
    taken: list[list[Snapshot]] = []
    for trained in (load_trained(path, config, options) for path in paths):
        # The first model's pipelines and normalization; one squeeze's checkpoints share them, as do its branches.
        images = images or _images(trained, files, sources, count)
        taken.append(take_snapshots(trained, _label(trained, several), images, levels))
    branches = {tuple(snapshots[0].teachers) for snapshots in taken}
    if len(branches) > 1:
        raise ConfigError(f'the checkpoints have different branches, {sorted(branches)}: draw each by itself')
    by_level = zip(*taken, strict=True)
    save_feature_figure(images, {level: group_columns(s) for level, s in zip(levels, by_level, strict=True)}, out)


def _images(trained: TrainedModel, files: Sequence[Path], sources: Sequence[str], count: int) -> list[SampleImage]:
    if files:
        return images_of_files(trained.model, files, next(iter(sources), None))
    return images_of_sources(trained.model, sources, count)


def _label(trained: TrainedModel, several: bool) -> str:
    path = Path(trained.checkpoint)
    step = f'step {trained.step}' if trained.step else path.stem
    return f'{path.parent.name}\n{step}' if several else step


# Inches
_CELL, _SPACE, _GAP, _MARGIN = 0.8, 0.03, 0.16, 0.1
_LABELS, _HEAD = 0.85, 0.78
_WORDS, _RULE = '#333333', '#999999'


def save_feature_figure(
    images: Sequence[SampleImage], levels: Mapping[int, Sequence[ColumnGroup]], out: Path, dpi: int = 120
) -> None:
    """Draw one block of rows per level: image by image, the image itself and its features.

    Args:
        images: one per row.
        levels: level i -> its groups of columns, the same for all levels.
        out: the PNG; whole or not there.
        dpi: pixels per inch. Defaults to 120.
    """
    groups = next(iter(levels.values()))
    columns = sum(len(group.columns) for group in groups)
    width = _LABELS + _CELL + columns * (_CELL + _SPACE) + len(groups) * _GAP + _MARGIN
    block = _HEAD + len(images) * (_CELL + _SPACE)
    page = _Page(width, len(levels) * block + _MARGIN)
    for place, (level, groups) in enumerate(levels.items()):
        _draw_block(page, place * block, images, level, groups)
    save_png(page.figure, out, dpi)


class _Page:
    """A figure on which things are placed by inches from the left and from the top."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure: Figure = blank_figure(width, height, layout=None)

    def picture(self, left: float, top: float, picture: np.ndarray, interpolation: str) -> None:
        bottom = 1 - (top + _CELL) / self.height
        axes = self.figure.add_axes((left / self.width, bottom, _CELL / self.width, _CELL / self.height))
        axes.imshow(picture, interpolation=interpolation)
        axes.set_axis_off()

    def text(self, left: float, top: float, text: str, ha: str = 'center', va: str = 'bottom', size: float = 7) -> None:
        weight = 'bold' if size > 7 else 'normal'
        place = (left / self.width, 1 - top / self.height)
        self.figure.text(*place, text, ha=ha, va=va, fontsize=size, color=_WORDS, weight=weight)

    def rule(self, left: float, right: float, top: float) -> None:
        height = 1 - top / self.height
        ends = [left / self.width, right / self.width]
        self.figure.add_artist(Line2D(ends, [height, height], color=_RULE, linewidth=0.7))


def _draw_block(
    page: _Page, top: float, images: Sequence[SampleImage], level: int, groups: Sequence[ColumnGroup]
) -> None:
    page.text(_MARGIN, top + 0.3, f'level {level}', ha='left', size=9)
    rows = [top + _HEAD + row * (_CELL + _SPACE) for row in range(len(images))]
    page.text(_LABELS + _CELL / 2, rows[0] - 0.05, 'image')
    for row, image in zip(rows, images, strict=True):
        page.text(_LABELS - 0.06, row + _CELL / 2, image.label, ha='right', va='center')
        page.picture(_LABELS, row, image.picture, 'bilinear')
    left = _LABELS + _CELL + _GAP
    for group in groups:
        end = left + len(group.columns) * (_CELL + _SPACE) - _SPACE
        page.text((left + end) / 2, top + 0.3, group.title, size=9)
        page.rule(left, end, top + 0.36)
        for column in group.columns:
            _draw_column(page, left, rows, column)
            left += _CELL + _SPACE
        left += _GAP


def _draw_column(page: _Page, left: float, rows: Sequence[float], column: Column) -> None:
    page.text(left + _CELL / 2, rows[0] - 0.05, column.title)
    for row, colours in zip(rows, column.maps, strict=True):
        # One square per position: what is coarse is meant to look coarse.
        page.picture(left, row, colours, 'nearest')
