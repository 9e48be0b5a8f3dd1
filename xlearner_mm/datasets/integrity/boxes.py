"""What boxes cannot be objects of a picture."""

from __future__ import annotations

import numpy as np


def faulty_boxes(boxes: np.ndarray, height: int, width: int) -> dict[int, str]:
    """Return index -> what is wrong of the boxes that cannot be objects of a picture.

    Those that lie partly outside are not among them: mmdet's ``Resize`` clips them, and data sets of whole persons want
    them so.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    """
    x1, y1, x2, y2 = boxes.T
    faults = {
        'with a coordinate that is no number': ~np.isfinite(boxes).all(axis=1),
        'of no area': (x2 <= x1) | (y2 <= y1),
        'outside of the picture': (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height),
        'that is larger than the picture by far': (x1 < -width) | (y1 < -height) | (x2 > 2 * width) | (y2 > 2 * height),
    }
    found: dict[int, str] = {}
    for fault, wrong in faults.items():
        for index in np.flatnonzero(wrong).tolist():
            box = ', '.join(f'{value:g}' for value in boxes[index])
            found.setdefault(index, f'has a box {fault}: ({box}) in {width} x {height} pixels')
    return found
