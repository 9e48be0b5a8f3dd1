"""Features of checkpoints on the same images, as a figure: three principal components as colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from torch import Tensor

from xlearner_mm.checkpoint import resolve_checkpoint
from xlearner_mm.errors import ConfigError
from xlearner_mm.evaluation.similarity import ByLevel, SideBySide, side_by_side
from xlearner_mm.visualization.png import blank_figure, save_png
from xlearner_mm.visualization.trained_model import (
    SampleImage,
    TrainedModel,
    images_of_files,
    images_of_sources,
    load_trained,
)

Maps = list[Tensor]
"""One ``(C, H_k, W_k)`` for every image, without padding."""

# The most extreme positions would leave all others gray.
_PERCENTILES = (1, 99)
# Inches.
_CELL, _SPACE, _GAP, _MARGIN = 0.8, 0.03, 0.16, 0.1
_LABELS, _HEAD = 0.85, 0.78
_WORDS, _RULE = '#333333', '#999999'


@dataclass(frozen=True)
class Snapshot:
    """Features of one checkpoint at one level, image by image.

    Args:
        label: name of the checkpoint.
        teachers_of: the file of the branches; of a squeeze, its teacher.
        teachers: t -> F_i^t of the branches, and of further teachers.
        guided: t -> G_i^t(Fhat_i); empty in the expansion stage.
        student: Fhat_i; empty in the expansion stage.
    """

    label: str
    teachers_of: str
    teachers: dict[str, Maps]
    guided: dict[str, Maps]
    student: Maps


class Column(NamedTuple):
    """A column of the figure: its title, and one ``(H_k, W_k, 3)`` in [0, 1] for every image."""

    title: str
    maps: list[np.ndarray]


class ColumnGroup(NamedTuple):
    """Columns whose colors can be compared, from left to right."""

    title: str
    columns: list[Column]


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
        out: the PNG, written atomically.
        levels: the levels i, one block of rows each. Defaults to (1,).
        files: image files. Defaults to (): validation images.
        sources: sources of the validation images, or (the first) of the pipeline for the files. Defaults to (): all.
        count: validation images of every source. Defaults to 1.
        config: the training's config. Defaults to None: the one beside each checkpoint.
        options: ``KEY=VALUE`` overrides of the config.

    Raises:
        CheckpointError: a checkpoint that cannot be read, or not with this config or teacher.
        SourceError: a source without validation images.
        FileNotFoundError: a config or an image does not exist.
        ConfigError: a level that the model does not have, or checkpoints of different branches.
    """
    paths = [resolve_checkpoint(checkpoint) for checkpoint in checkpoints]
    several = len({Path(path).parent for path in paths}) > 1
    images: list[SampleImage] = []
    taken: list[list[Snapshot]] = []
    for trained in (load_trained(path, config, options) for path in paths):
        # The first model's pipelines and normalization; one squeeze's checkpoints share them, as do its branches.
        if not images and files:
            images = images_of_files(trained.model, files, next(iter(sources), None))
        images = images or images_of_sources(trained.model, sources, count)
        path = Path(trained.checkpoint)
        step = f'step {trained.step}' if trained.step else path.stem
        taken.append(take_snapshots(trained, f'{path.parent.name}\n{step}' if several else step, images, levels))
    branches = {tuple(snapshots[0].teachers) for snapshots in taken}
    if len(branches) > 1:
        raise ConfigError(f'the checkpoints have different branches, {sorted(branches)}: draw each by itself')
    by_level = zip(*taken, strict=True)
    save_feature_figure(images, {level: group_columns(s) for level, s in zip(levels, by_level, strict=True)}, out)


def take_snapshots(
    trained: TrainedModel, label: str, images: Sequence[SampleImage], levels: Sequence[int]
) -> list[Snapshot]:
    """Return a :class:`Snapshot` of a checkpoint for each level.

    Args:
        trained: the checkpoint's model.
        label: name of the checkpoint.
        images: its inputs.
        levels: the levels i.

    Raises:
        ConfigError: a level that the model does not have, or does not distil.
    """
    seen = [(image, side_by_side(trained.model, image.inputs)) for image in images]
    return [_snapshot(trained, label, seen, level) for level in levels]


def _snapshot(
    trained: TrainedModel, label: str, seen: Sequence[tuple[SampleImage, SideBySide]], level: int
) -> Snapshot:
    first = seen[0][1]
    for branch, levels in first.teachers.items():
        if level not in levels:
            raise ConfigError(
                f"checkpoint {trained.checkpoint}: level {level} of '{branch}' is not available, only {sorted(levels)}"
            )

    def maps(kind: str) -> dict[str, Maps]:
        of_branch: Mapping[str, ByLevel] = getattr(first, kind)
        return {t: [_unpadded(getattr(side, kind)[t][level], image) for image, side in seen] for t in of_branch}

    teacher = getattr(trained.model, 'teacher', None)
    return Snapshot(
        label,
        trained.checkpoint if teacher is None else teacher.checkpoint,
        maps('teachers'),
        maps('guided'),
        [_unpadded(side.student[level], image) for image, side in seen] if first.student else [],
    )


def _unpadded(feature: Tensor, image: SampleImage) -> Tensor:
    """Return the part ``(C, H, W)`` of a map ``(1, C, H', W')`` that lies over the image."""
    height, width = (
        max(1, round(full * size / padded))
        for full, size, padded in zip(feature.shape[-2:], image.picture.shape[:2], image.inputs.shape[-2:], strict=True)
    )
    return feature[0, :, :height, :width]


def group_columns(snapshots: Sequence[Snapshot]) -> list[ColumnGroup]:
    """Return a group of columns for each branch, and one for the student's own features.

    A branch's colors are those of F_i^t, and G_i^t(Fhat_i) has the same ones: same color, same feature. The student's
    own features have other colors, the same for all checkpoints. Branches that checkpoints share, as those of one
    squeeze do, are shown once.

    Args:
        snapshots: of the same images at the same level.
    """
    groups = [_branch_group(branch, snapshots) for branch in snapshots[0].teachers]
    distilled = [snapshot for snapshot in snapshots if snapshot.student]
    if distilled:
        colors = FeatureColors([feature for snapshot in distilled for feature in snapshot.student])
        columns = [_column(snapshot.label, snapshot.student, colors) for snapshot in distilled]
        groups.append(ColumnGroup(r'student $\hat{F}$', columns))
    return groups


def _branch_group(branch: str, snapshots: Sequence[Snapshot]) -> ColumnGroup:
    own: dict[str, Snapshot] = {}
    for snapshot in snapshots:
        own.setdefault(snapshot.teachers_of, snapshot)
    colors = FeatureColors([feature for snapshot in own.values() for feature in snapshot.teachers[branch]])
    columns = []
    for snapshot in own.values():
        title = ('$F$' if len(own) == 1 else f'$F$ {snapshot.label}') if snapshot.guided else snapshot.label
        columns.append(_column(title, snapshot.teachers[branch], colors))
        columns += [
            _column(f'$G(\\hat{{F}})$\n{other.label}', other.guided[branch], colors)
            for other in snapshots
            if other.guided and other.teachers_of == snapshot.teachers_of
        ]
    return ColumnGroup(branch, columns)


def _column(title: str, maps: Maps, colors: FeatureColors) -> Column:
    return Column(title, [colors(feature) for feature in maps])


class FeatureColors:
    """Comparable colors of feature maps: same color, same feature.

    Args:
        features: maps ``(C, H_k, W_k)`` that components and ranges are fitted to.
    """

    def __init__(self, features: Sequence[Tensor]) -> None:
        samples = np.concatenate([_positions(feature) for feature in features])
        with np.errstate(invalid='ignore'):  # constant features have no variance
            self._pca = PCA(n_components=3, svd_solver='covariance_eigh').fit(samples)
        self._low, self._high = np.percentile(self._pca.transform(samples), _PERCENTILES, axis=0)

    def __call__(self, feature: Tensor) -> np.ndarray:
        """Return ``(H, W, 3)`` in [0, 1] for a feature map ``(C, H, W)``."""
        components = self._pca.transform(_positions(feature))
        scaled = (components - self._low) / np.maximum(self._high - self._low, 1e-12)
        return scaled.clip(0, 1).reshape(*feature.shape[-2:], 3)


def _positions(feature: Tensor) -> np.ndarray:
    return feature.flatten(1).T.double().cpu().numpy()


def save_feature_figure(
    images: Sequence[SampleImage], levels: Mapping[int, Sequence[ColumnGroup]], out: Path, dpi: int = 120
) -> None:
    """Draw one block of rows per level: image by image, the image itself and its features.

    Args:
        images: one per row.
        levels: level i -> its groups of columns, the same for all levels.
        out: the PNG, written atomically.
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
    """A figure with places in inches from the left and from the top."""

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
            page.text(left + _CELL / 2, rows[0] - 0.05, column.title)
            for row, colors in zip(rows, column.maps, strict=True):
                page.picture(left, row, colors, 'nearest')  # one square per position
            left += _CELL + _SPACE
        left += _GAP
