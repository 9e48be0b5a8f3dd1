"""Real pictures that scikit-learn, scikit-image and matplotlib carry inside their wheels.

Files are opened where the packages keep them: scikit-image's own loaders would try to download what
an installation lacks, and XL-Mini must never need a network.
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
"""Photographs that serve as backgrounds; a grey one is read as RGB."""

SURFACES = ('brick', 'grass', 'gravel')
"""Texture photographs (grey, 512 x 512)."""


class MaterialError(ConfigError):
    """Something XL-Mini is composed of is missing from an installed package."""


def _packaged(path: Path, package: str) -> Path:
    """Return ``path`` if it is there, else raise an error that names the fix."""
    if not path.is_file():
        raise MaterialError(
            f'XL-Mini needs {path.name}, which the {package} wheel carries, but {path} does not '
            f'exist: reinstall it with `pip install --force-reinstall --no-deps {package}`.'
        )
    return path


def _skimage_file(name: str) -> Path:
    return _packaged(Path(skimage.__file__).parent / 'data' / name, 'scikit-image')


def font_file(name: str) -> Path:
    """Return the path of a font that matplotlib ships.

    Args:
        name: File name without its suffix, such as ``'DejaVuSans-Bold'``.

    Raises:
        MaterialError: The installed matplotlib has no such font.
    """
    return _packaged(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / f'{name}.ttf', 'matplotlib')


@cache
def photograph(name: str) -> Image.Image:
    """Return one of ``PHOTOGRAPHS`` as an RGB image."""
    with Image.open(_skimage_file(name)) as image:
        return image.convert('RGB')


@cache
def surface(name: str) -> Image.Image:
    """Return one of ``SURFACES`` as a grey image."""
    with Image.open(_skimage_file(f'{name}.png')) as image:
        return image.convert('L')


@cache
def digit_scans(digit: int, held_out: bool) -> np.ndarray:
    """Return handwritten scans of one digit.

    Args:
        digit: 0 to 9.
        held_out: The quarter kept for validation instead of the three quarters for training.

    Returns:
        ``(N, 8, 8)`` float32 in ``[0, 1]``, 1 is ink.
    """
    data = load_digits()
    scans = data.images[data.target == digit].astype(np.float32) / 16
    cut = len(scans) * 3 // 4
    return scans[cut:] if held_out else scans[:cut]


@cache
def faces(held_out: bool) -> np.ndarray:
    """Return grey crops of faces (Labeled Faces in the Wild).

    Args:
        held_out: The 30 people kept for testing instead of the 70 for training.

    Returns:
        ``(N, 25, 25)`` float32 in ``[0, 1]``.
    """
    crops = np.load(_skimage_file('lfw_subset.npy'))[:100].astype(np.float32)
    return crops[70:] if held_out else crops[:70]
