"""What of several checkpoints' features stands side by side, and in which colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from torch import Tensor

from xlearner_mm.errors import ConfigError
from xlearner_mm.evaluation.similarity import ByLevel, SideBySide, side_by_side
from xlearner_mm.visualization.sample_images import SampleImage
from xlearner_mm.visualization.trained_model import TrainedModel

Maps = list[Tensor]
"""One ``(C, H_k, W_k)`` for every image, without what the images were padded with."""


@dataclass(frozen=True)
class Snapshot:
    """Features of one checkpoint at one level, image by image.

    Args:
        label: what the checkpoint is called.
        teachers_of: the file that the branches are of; a squeeze's are its teacher's.
        teachers: t -> F_i^t of the branches, and of further teachers.
        guided: t -> G_i^t(Fhat_i), or nothing in the expansion stage.
        student: Fhat_i, or nothing in the expansion stage.
    """

    label: str
    teachers_of: str
    teachers: dict[str, Maps]
    guided: dict[str, Maps]
    student: Maps


@dataclass(frozen=True)
class Column:
    """One column of the figure.

    Args:
        title: what stands above it.
        maps: one ``(H_k, W_k, 3)`` in [0, 1] for every image.
    """

    title: str
    maps: list[np.ndarray]


@dataclass(frozen=True)
class ColumnGroup:
    """Columns whose colours can be compared.

    Args:
        title: what stands above them.
        columns: from left to right.
    """

    title: str
    columns: list[Column]


def take_snapshots(
    trained: TrainedModel, label: str, images: Sequence[SampleImage], levels: Sequence[int]
) -> list[Snapshot]:
    """Return a :class:`Snapshot` of a checkpoint for each level.

    Args:
        trained: the checkpoint's model.
        label: what it is called.
        images: what it looks at.
        levels: the levels i.

    Raises:
        ConfigError: a level that the model does not have, or does not distil.
    """
    seen = [(image, side_by_side(trained.model, image.inputs)) for image in images]
    return [_snapshot(trained, label, seen, level) for level in levels]


def group_columns(snapshots: Sequence[Snapshot]) -> list[ColumnGroup]:
    """Return a group of columns for each branch, and one for the student's own features.

    A branch's colours are those of F_i^t, and G_i^t(Fhat_i) is shown in the same ones: where it has the branch's
    colour, it has the branch's feature. The student's own have colours of their own, the same for all checkpoints.
    Branches that checkpoints share, as those of one squeeze do, are shown once.

    Args:
        snapshots: of the same images at the same level.
    """
    groups = [_branch_group(branch, snapshots) for branch in snapshots[0].teachers]
    distilled = [snapshot for snapshot in snapshots if snapshot.student]
    if distilled:
        colours = FeatureColours([feature for snapshot in distilled for feature in snapshot.student])
        columns = [_column(snapshot.label, snapshot.student, colours) for snapshot in distilled]
        groups.append(ColumnGroup(r'student $\hat{F}$', columns))
    return groups


def _branch_group(branch: str, snapshots: Sequence[Snapshot]) -> ColumnGroup:
    own: dict[str, Snapshot] = {}
    for snapshot in snapshots:
        own.setdefault(snapshot.teachers_of, snapshot)
    colours = FeatureColours([feature for snapshot in own.values() for feature in snapshot.teachers[branch]])
    columns = []
    for snapshot in own.values():
        title = _own_title(snapshot, alone=len(own) == 1)
        columns.append(_column(title, snapshot.teachers[branch], colours))
        columns += [
            _column(f'$G(\\hat{{F}})$\n{other.label}', other.guided[branch], colours)
            for other in snapshots
            if other.guided and other.teachers_of == snapshot.teachers_of
        ]
    return ColumnGroup(branch, columns)


def _own_title(snapshot: Snapshot, alone: bool) -> str:
    if not snapshot.guided:
        return snapshot.label
    return '$F$' if alone else f'$F$ {snapshot.label}'


def _column(title: str, maps: Maps, colours: FeatureColours) -> Column:
    return Column(title, [colours(feature) for feature in maps])


def _snapshot(
    trained: TrainedModel, label: str, seen: Sequence[tuple[SampleImage, SideBySide]], level: int
) -> Snapshot:
    first = seen[0][1]
    for branch, levels in first.teachers.items():
        if level not in levels:
            raise ConfigError(
                f"checkpoint {trained.checkpoint}: level {level} of '{branch}' is not there to look at, only "
                f'{sorted(levels)}'
            )
    teacher = getattr(trained.model, 'teacher', None)
    return Snapshot(
        label,
        trained.checkpoint if teacher is None else teacher.checkpoint,
        {branch: list(_maps(seen, level, branch, 'teachers')) for branch in first.teachers},
        {branch: list(_maps(seen, level, branch, 'guided')) for branch in first.guided},
        [_unpadded(side.student[level], image) for image, side in seen] if first.student else [],
    )


def _maps(seen: Sequence[tuple[SampleImage, SideBySide]], level: int, branch: str, kind: str) -> Iterator[Tensor]:
    for image, side in seen:
        features: dict[str, ByLevel] = getattr(side, kind)
        yield _unpadded(features[branch][level], image)


def _unpadded(feature: Tensor, image: SampleImage) -> Tensor:
    """The part ``(C, H, W)`` of a map ``(1, C, H', W')`` that lies over the image."""
    height, width = (
        max(1, round(full * size / padded))
        for full, size, padded in zip(feature.shape[-2:], image.picture.shape[:2], image.inputs.shape[-2:], strict=True)
    )
    return feature[0, :, :height, :width]


# The most extreme positions would leave all others grey.
_PERCENTILES = (1, 99)


class FeatureColours:
    """Colours of feature maps that can be compared with each other: same colour, same feature.

    Args:
        features: maps ``(C, H_k, W_k)`` whose positions the components and their ranges are of.
    """

    def __init__(self, features: Sequence[Tensor]) -> None:
        samples = np.concatenate([_positions(feature) for feature in features])
        with np.errstate(invalid='ignore'):  # features that are the same everywhere have no variance to share out
            self._pca = PCA(n_components=3, svd_solver='covariance_eigh').fit(samples)
        self._low, self._high = np.percentile(self._pca.transform(samples), _PERCENTILES, axis=0)

    def __call__(self, feature: Tensor) -> np.ndarray:
        """Return ``(H, W, 3)`` in [0, 1] for a feature map ``(C, H, W)``."""
        components = self._pca.transform(_positions(feature))
        scaled = (components - self._low) / np.maximum(self._high - self._low, 1e-12)
        return scaled.clip(0, 1).reshape(*feature.shape[-2:], 3)


def _positions(feature: Tensor) -> np.ndarray:
    return feature.flatten(1).T.double().cpu().numpy()
