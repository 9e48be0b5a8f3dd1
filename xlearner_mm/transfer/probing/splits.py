"""Which training images a probe's regularisation is chosen on."""

from __future__ import annotations

import numpy as np

from xlearner_mm.transfer.fractions import stratified

VALIDATION_SHARE = 0.2


def held_out(labels: np.ndarray, seed: int, share: float = VALIDATION_SHARE) -> np.ndarray:
    """Return a mask of the validation images: a seeded share of every class, at most all images of a class but one.

    Args:
        labels: ``(N,)``, the class of every training image.
        seed: decides the draw.
        share: of each class. Defaults to a fifth.

    Raises:
        ValueError: every class has one image: there is none to spare.
    """
    mask = np.zeros(len(labels), dtype=bool)
    classes, counts = np.unique(labels, return_counts=True)
    spare = np.flatnonzero(np.isin(labels, classes[counts > 1]))
    if not len(spare):
        raise ValueError(f'{len(labels)} training images of {len(classes)} classes: none can be spared for validation')
    mask[spare[stratified(labels[spare], share, np.random.default_rng(seed))]] = True
    return mask


def official(images: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Return a mask of those training images that are in the set's own validation split.

    Args:
        images: of the training set, see :class:`~xlearner_mm.transfer.probing.features.Features`.
        validation: of the validation split.

    Raises:
        ValueError: none of them is, or all are.
    """
    mask = np.isin(images, validation)
    if mask.all() or not mask.any():
        raise ValueError(
            f'{mask.sum()} of {len(mask)} training images are in the validation split: some must be, and some not'
        )
    return mask
