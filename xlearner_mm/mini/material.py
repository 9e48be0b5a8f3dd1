"""Real pictures in the wheels of scikit-learn, scikit-image and matplotlib.

Files are opened directly: scikit-image's own loaders would download missing ones, and XL-Mini must not need a network.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import skimage
from PIL import Image
from sklearn.datasets import load_digits

from xlearner_mm.errors import ConfigError

PHOTOGRAPHS = ('astronaut.png', 'coffee.png', 'chelsea.png', 'rocket.jpg', 'camera.png')
"""Photographs for backgrounds; the gray one is read as RGB."""

SURFACES = ('brick', 'grass', 'gravel')
"""Texture photographs (gray, 512 x 512)."""


class MaterialError(ConfigError):
    """A picture or font is missing from an installed package."""


def _packaged(path: Path, package: str) -> Path:
    """Return an existing path, or raise an error with the fix."""
    if not path.is_file():
        raise MaterialError(
            f'XL-Mini needs {path.name}, which is part of the {package} wheel, but {path} does not '
            f'exist: reinstall it with `pip install --force-reinstall --no-deps {package}`.'
        )
    return path


def _skimage_file(name: str) -> Path:
    return _packaged(Path(skimage.__file__).parent / 'data' / name, 'scikit-image')


def font_file(name: str) -> Path:
    """Return the path of one of matplotlib's fonts, by its file name without suffix.

    Raises:
        MaterialError: the installed matplotlib has no such font.
    """
    return _packaged(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / f'{name}.ttf', 'matplotlib')


@cache
def photograph(name: str) -> Image.Image:
    """Return one of ``PHOTOGRAPHS`` as an RGB image."""
    with Image.open(_skimage_file(name)) as image:
        return image.convert('RGB')


@cache
def surface(name: str) -> Image.Image:
    """Return one of ``SURFACES`` as a gray image."""
    with Image.open(_skimage_file(f'{name}.png')) as image:
        return image.convert('L')


@cache
def digit_scans(digit: int, held_out: bool) -> np.ndarray:
    """Return handwritten scans of one digit, ``(N, 8, 8)`` float32 in ``[0, 1]``, 1 is ink.

    Args:
        digit: 0 to 9.
        held_out: the quarter for validation, instead of the three quarters for training.
    """
    data = load_digits()
    scans = data.images[data.target == digit].astype(np.float32) / 16
    cut = len(scans) * 3 // 4
    return scans[cut:] if held_out else scans[:cut]


@cache
def faces(held_out: bool) -> np.ndarray:
    """Return gray crops of faces (Labeled Faces in the Wild), ``(N, 25, 25)`` float32 in ``[0, 1]``.

    Args:
        held_out: the 30 people for testing, instead of the 70 for training.
    """
    crops = np.load(_skimage_file('lfw_subset.npy'))[:100].astype(np.float32)
    return crops[70:] if held_out else crops[:70]
