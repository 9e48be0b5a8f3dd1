"""Evenly spaced indices of a dataset."""

from __future__ import annotations

import numpy as np


def spread(total: int, count: int) -> list[int]:
    """Return up to ``count`` of ``total`` indices, evenly spaced from the first to the last.

    Datasets are often sorted by class, so their first images would be of a single class.
    """
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()
