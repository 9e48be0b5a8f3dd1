"""Evenly spaced and random shares of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np


def spread(total: int, count: int) -> list[int]:
    """Return up to ``count`` of ``total`` indices, evenly spaced from the first to the last.

    Datasets are often sorted by class, so their first images would be of a single class.
    """
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


def classes_to_draw_by(dataset: Any) -> np.ndarray:
    """Return the class of every image of a dataset, ``(N,)``, for :func:`stratified`.

    Images with objects, label maps or several labels are all of class 0.
    """
    total = len(dataset)
    if hasattr(dataset, 'get_gt_labels'):  # mmpretrain's, also for several labels an image
        labels = [dataset.get_data_info(index)['gt_label'] for index in range(total)]
        if all(isinstance(label, (int, np.integer)) for label in labels):
            return np.array(labels)
    return np.zeros(total, dtype=int)


def stratified(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of a random share of every class, at least one image of each, ascending.

    Args:
        labels: ``(N,)``, the class of every image.
        fraction: share of each class.
        rng: source of randomness.
    """
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))
