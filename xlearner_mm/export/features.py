"""Features of images in one line, for people outside of OpenMMLab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xlearner_mm.export.backbone import Backbone, get_backbone, load_image, resize_image


def extract_features(
    checkpoint: str | PathLike[str] | Backbone,
    images: Any,
    *,
    size: int | tuple[int, int] | None = 224,
    levels: int | Sequence[int] = -1,
    pooled: bool = True,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    branch: str | None = None,
) -> Any:
    """Return the features of images, normalized as the checkpoint records.

        >>> import xlearner_mm
        >>> features = xlearner_mm.extract_features('backbone.pth', ['photo.jpg', 'drawing.png'])
        >>> features.shape == (2, xlearner_mm.get_backbone('backbone.pth').channels[-1])
        True

    Maps of several levels, of all images at 128x128:

        >>> maps = xlearner_mm.extract_features(
        ...     'backbone.pth', ['photo.jpg'], size=(128, 128), levels=(0, 3), pooled=False)
        >>> [tuple(level.shape[-2:]) for level in maps]
        [(32, 32), (4, 4)]

    Args:
        checkpoint: what :func:`~xlearner_mm.get_backbone` takes, or what it gave.
        images: one or more (a list, a generator, an array ``(B, H, W, 3)``, a tensor ``(B, 3, H, W)``): paths, PIL
            images, RGB arrays ``(H, W, 3)`` of uint8, RGB tensors ``(3, H, W)`` of uint8 or of floats between 0 and 1.
        size: an int: the shorter side becomes that, then the centre is cropped to a square; ``(height, width)``:
            exactly that; None: images stay as they are. Defaults to 224.
        levels: which levels of the backbone; -1 is the last. Defaults to -1.
        pooled: average each level over its positions. Defaults to True.
        batch_size: images at once. Defaults to 32.
        device: where to compute. Defaults to None: where the backbone is, which is the CPU for a file.
        branch: of an expansion checkpoint, one branch. Defaults to None, see :func:`~xlearner_mm.get_backbone`.

    Returns:
        ``(B, C)``, or ``(B, C, H, W)`` without pooling, on the CPU; for a sequence of levels a tuple of these.

    Raises:
        CheckpointError: of the checkpoint, or it does not say how images are normalized: give
            ``get_backbone(checkpoint, normalization=...)`` in its place.
        FileNotFoundError: an image that does not exist.
        ValueError: no image, one that is none, an unknown level, an empty batch, or maps whose sizes differ.
    """
    backbone = checkpoint if isinstance(checkpoint, Backbone) else get_backbone(checkpoint, branch=branch)
    wanted = (levels,) if isinstance(levels, int) else tuple(levels)
    count = len(backbone.channels)
    unknown = [level for level in wanted if not -count <= level < count]
    if unknown:
        raise ValueError(f'levels {unknown} are not of this backbone, which gives out {count}')
    if batch_size < 1:
        raise ValueError(f'batch_size must be at least 1, got {batch_size}')
    prepared = (resize_image(load_image(image), size) for image in _each(images))
    if device is not None:
        backbone.to(device)
    with _inferring(backbone):
        parts = [_run(backbone, batch, wanted, pooled) for batch in _batches(prepared, batch_size)]
    if not parts:
        raise ValueError('no images to extract features of')
    features = tuple(_joined(level) for level in zip(*parts, strict=True))
    return features[0] if isinstance(levels, int) else features


@contextmanager
def _inferring(backbone: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, and leave every module as it was."""
    switched = [module for module in backbone.modules() if module.training]
    for module in switched:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in switched:
            module.training = True


def _run(backbone: Backbone, batch: Tensor, levels: Sequence[int], pooled: bool) -> list[Tensor]:
    outputs = backbone(backbone.normalize(batch.to(next(backbone.parameters()).device)))
    chosen = [outputs[level] for level in levels]
    return [(level.mean((2, 3)) if pooled else level).cpu() for level in chosen]


def _each(images: Any) -> Iterable[Any]:
    """Iterate over images, one of which may stand for itself."""
    from PIL import Image

    one = isinstance(images, str | PathLike | Image.Image)
    if isinstance(images, np.ndarray | Tensor):
        one = images.ndim != 4
    return [images] if one else images


def _batches(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Stack images that follow each other and are of one size."""
    batch: list[Tensor] = []
    for image in images:
        if batch and (len(batch) == batch_size or image.shape != batch[0].shape):
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield torch.stack(batch)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    sizes = {tuple(part.shape[2:]) for part in parts}
    if len(sizes) > 1:
        raise ValueError(f'maps of images of different sizes differ in size, {sorted(sizes)}: give size, or pool them')
    return torch.cat(list(parts))
