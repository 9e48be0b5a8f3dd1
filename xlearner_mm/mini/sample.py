"""What one generated picture carries: the pixels and the label of exactly one task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

IMAGE_SIZE = 64
"""Side of every XL-Mini picture, in pixels."""

IGNORE = 255
"""Mask value of pixels that no metric counts (outlines of objects)."""


class Box(NamedTuple):
    """A pixel box of one object; ``x1`` and ``y1`` are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    def overlap(self, other: Box) -> float:
        """Return the shared area divided by the smaller of the two areas, in ``[0, 1]``."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / min(self.area, other.area)

    @property
    def area(self) -> int:
        """Number of pixels in the box."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Instance:
    """One object of a scene.

    Args:
        label: Index into the set's classes, without background.
        box: Tight box around the visible pixels.
        visible: ``(H, W)`` bool, the object's visible pixels.
        truncated: Whether part of the object lies outside the picture.
        occluded: Whether another object hides part of it.
    """

    label: int
    box: Box
    visible: np.ndarray
    truncated: bool = False
    occluded: bool = False


@dataclass(frozen=True)
class Sample:
    """One picture with its label.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        label: Class index of a classification picture, -1 for other tasks.
        instances: Objects of a detection picture.
        mask: ``(H, W)`` uint8 class indices of a segmentation picture: 0 is background and
            ``IGNORE`` an outline.
        depth: ``(H, W)`` float32, metres along the optical axis.
    """

    image: np.ndarray
    label: int = -1
    instances: tuple[Instance, ...] = field(default=())
    mask: np.ndarray | None = None
    depth: np.ndarray | None = None
