"""Some indices that stand for all of a dataset."""

from __future__ import annotations

import numpy as np


def spread(total: int, count: int) -> list[int]:
    """Return up to ``count`` of ``total`` indices, evenly from the first to the last.

    Datasets are often sorted by class: their first images are all of one.

    Args:
        total: how many there are.
        count: how many are wanted.
    """
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()
