"""Images of whatever kind, as a backbone was trained to see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch import Tensor

ORDERS = ('rgb', 'bgr')
# More than 8 bits per channel: converting them to RGB would cut off the larger values.
_DEEP_MODES = ('I', 'F', 'I;16', 'I;16B', 'I;16L', 'I;16N')


@dataclass(frozen=True)
class Normalisation:
    """Normalisation of a backbone's input.

    Args:
        mean: of every channel, in values 0 to 255; None: none is taken off.
        std: likewise; None: nothing is divided by.
        order: of the channels as the backbone sees them, ``'rgb'`` or ``'bgr'``.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    order: str

    @classmethod
    def parse(cls, value: Sequence[Any]) -> Normalisation:
        """Return the normalisation that ``(mean, std, order)`` says, as checkpoints record it.

        Raises:
            ValueError: it says something else.
        """
        try:
            mean, std, order = value
            mean, std = (None if v is None else tuple(float(x) for x in v) for v in (mean, std))
        except (TypeError, ValueError) as error:
            raise ValueError(f'normalisation {value!r} is not (mean, std, order)') from error
        if order not in ORDERS or any(v is not None and len(v) != 3 for v in (mean, std)):
            raise ValueError(
                f'normalisation {value!r}: mean and std of 3 channels, and an order of {ORDERS}, are needed'
            )
        return cls(mean, std, order)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise RGB images ``(..., 3, H, W)`` of values 0 to 255."""
        images = images.float() if not images.is_floating_point() else images
        if self.order == 'bgr':
            images = images.flip(-3)
        if self.mean is not None:
            images = images - images.new_tensor(self.mean).view(3, 1, 1)
        return images if self.std is None else images / images.new_tensor(self.std).view(3, 1, 1)


def load_image(image: Any) -> Tensor:
    """Return an image as RGB ``(3, H, W)``, float values 0 to 255.

    Args:
        image: a path; a PIL image of 8 bits per channel; an array ``(H, W, 3)`` of RGB uint8; a tensor ``(3, H, W)`` of
            RGB uint8, or of floats between 0 and 1.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such image; says what it is.
    """
    if isinstance(image, str | PathLike):
        return _from_file(fspath(image))
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    from PIL import Image

    if isinstance(image, Image.Image):
        return _from_pil(image, 'an image')
    raise ValueError(f'an image must be a path, a PIL image, an array or a tensor, not {type(image).__name__}')


def resize_image(image: Tensor, size: int | tuple[int, int] | None) -> Tensor:
    """Resize ``(3, H, W)`` bilinearly, with antialiasing.

    Args:
        image: the image.
        size: an int: the shorter side becomes that, then the centre is cropped to a square; ``(height, width)``:
            exactly that, whatever the aspect ratio; None: left as it is.
    """
    if size is None:
        return image
    from torchvision.transforms.v2 import functional as F

    if isinstance(size, int):
        return F.center_crop(F.resize(image, [size], antialias=True), [size, size])
    return F.resize(image, list(size), antialias=True)


def _from_file(path: str) -> Tensor:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return _from_pil(image, path)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'{path} cannot be read as an image: {error}') from error


def _from_pil(image: Any, what: str) -> Tensor:
    from PIL import ImageOps

    if image.mode in _DEEP_MODES:
        raise ValueError(f'{what} has more than 8 bits per channel (mode {image.mode}): convert it to 8 bits first')
    # A camera's orientation is in the file beside the pixels.
    upright = ImageOps.exif_transpose(image).convert('RGB')
    return _from_array(np.array(upright))


def _from_array(image: np.ndarray) -> Tensor:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f'an array must be RGB (H, W, 3) of uint8, got {image.shape} of {image.dtype}')
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()


def _from_tensor(image: Tensor) -> Tensor:
    if image.dim() != 3 or image.shape[0] != 3:
        raise ValueError(f'a tensor must be RGB (3, H, W), got {tuple(image.shape)}')
    if image.dtype == torch.uint8:
        return image.float()
    if not image.is_floating_point() or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise ValueError(
            f'a tensor must hold uint8, or floats between 0 and 1 that are not normalised yet; got {image.dtype} from '
            f'{float(image.min()):.3g} to {float(image.max()):.3g}'
        )
    return image.float() * 255
