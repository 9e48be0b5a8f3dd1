"""What is written gives the features that it was written from, or is not written."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.errors import CheckpointError


def probe_images(batch: int = 1, height: int = 64, width: int = 64) -> Tensor:
    """Return normalized images ``(B, 3, H, W)``, the same every time; no seeded run is moved by them."""
    return torch.sin(torch.arange(batch * 3 * height * width, dtype=torch.float32)).view(batch, 3, height, width)


def check_same_features(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str, tolerance: float) -> None:
    """Compare features of all levels.

    Args:
        ours: of the backbone that is exported.
        theirs: of what it is exported to.
        what: the format, for messages.
        tolerance: largest difference, as a share of the level's largest value (of 1 where that is smaller).

    Raises:
        CheckpointError: a level differs; names it and by how much.
    """
    if len(ours) != len(theirs):
        raise CheckpointError(f'{what} gives {len(theirs)} levels in place of {len(ours)}: nothing is written')
    for level, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if own.shape != other.shape:
            raise CheckpointError(
                f'{what} gives {tuple(other.shape)} at level {level} in place of {tuple(own.shape)}: nothing is written'
            )
        share = float((own - other).abs().max() / own.abs().max().clamp(min=1))
        if not share <= tolerance:
            raise CheckpointError(
                f'{what} gives other features at level {level}, by {share:.1e} of the largest: nothing is written'
            )


def require(name: str) -> Any:
    """Import a package that a format is written, or checked, with.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f'this format needs {name} ({error}); install it with `pip install xlearner_mm[export]`'
        ) from error
