"""Backbones and features of images in one line, for use outside of OpenMMLab."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.checkpoint import BRANCHES, description_of, load_backbone, read_checkpoint, resolve_checkpoint
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.export.formats import probe_images
from xlearner_mm.export.start import read_start
from xlearner_mm.export.stored_backbone import find_backbone
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.normalization import Normalization
from xlearner_mm.registry import MODELS, type_of

# Blocks of depth 18 and 34 have one style only.
_FIRST_WITH_STYLE = 50


class Backbone(nn.Module):
    """A backbone with the metadata of its file.

    Args:
        net: the registered backbone.
        meta: metadata of the file; empty where it has none.
        normalization: of its input; None where the file does not record it.
        frozen: keep it in eval mode, without gradients.

    Attributes:
        channels: of every level.
    """

    def __init__(
        self, net: nn.Module, meta: Mapping[str, Any], normalization: Normalization | None, frozen: bool
    ) -> None:
        super().__init__()
        self.net, self.meta, self.normalization, self.frozen = net, dict(meta), normalization, frozen
        if frozen:
            self.requires_grad_(False)
        self.eval()
        with torch.no_grad():
            self.channels = tuple(level.shape[1] for level in net(probe_images()))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of every level, ``(B, C_i, H_i, W_i)``, of normalized images ``(B, 3, H, W)``."""
        return tuple(self.net(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize images as in training.

        Args:
            images: RGB ``(..., 3, H, W)``, values 0 to 255.

        Raises:
            CheckpointError: the file does not record the normalization.
        """
        if self.normalization is None:
            raise CheckpointError(
                'the checkpoint does not record its input normalization: give normalization=(mean, std, order) to '
                "get_backbone, for instance ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'rgb')"
            )
        return self.normalization(images)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; a frozen backbone stays in eval mode."""
        super().train(mode and not self.frozen)
        return self


def get_backbone(
    checkpoint: str | PathLike[str],
    frozen: bool = True,
    branch: str | None = None,
    *,
    backbone: Mapping[str, Any] | None = None,
    normalization: Sequence[Any] | None = None,
    which: str = 'last',
    ema: bool | None = None,
) -> Backbone:
    """Build the backbone in a checkpoint, with its weights; no config is needed.

        >>> import torch, xlearner_mm
        >>> backbone = xlearner_mm.get_backbone('backbone.pth')
        >>> levels = backbone(torch.rand(2, 3, 224, 224))
        >>> [tuple(level.shape[-2:]) for level in levels]
        [(56, 56), (28, 28), (14, 14), (7, 7)]
        >>> len(backbone.channels)
        4

    Frozen, it is a feature extractor for another head:

        >>> head = torch.nn.Linear(backbone.channels[-1], 10)
        >>> model = torch.nn.ModuleDict(dict(backbone=backbone, head=head)).train()
        >>> backbone.training, any(p.requires_grad for p in backbone.parameters())
        (False, False)
        >>> images = torch.randint(256, (2, 3, 64, 64))
        >>> model['head'](model['backbone'](backbone.normalize(images))[-1].mean((2, 3))).shape
        torch.Size([2, 10])

    To train it as well, use ``frozen=False``:

        >>> xlearner_mm.get_backbone('backbone.pth', frozen=False).train().training
        True

    Args:
        checkpoint: an export (mm, torchvision, timm or safetensors), a folder with a model card, a checkpoint of either
            stage, a work directory, or any other file that holds a plain ResNet, such as torchvision's or a detector's.
        frozen: keep it in eval mode, without gradients. Defaults to True.
        branch: of an expansion checkpoint, one branch, without its links. Defaults to None: its only one, or else, and
            after pruning, the whole expanded backbone, whose branches' features are side by side.
        backbone: config of a registered backbone, for files that do not describe theirs, such as
            ``dict(type='mmdet.ResNet', depth=50, deep_stem=True)``. Defaults to None: from the file, or else the
            plain ResNet of its weights, with bottlenecks of ``style='pytorch'``.
        normalization: ``(mean, std, order)`` in values 0 to 255, order being ``'rgb'`` or ``'bgr'``. Defaults to None:
            from the file; where it records none, the backbone takes normalized images only.
        which: of a work directory, ``'last'`` or ``'best'``. Defaults to ``'last'``.
        ema: True: the moving average of the weights; False: the model's own; None: those in ``state_dict``.
            Defaults to None.

    Raises:
        CheckpointError: unreadable, neither self-describing nor of a plain ResNet, or not fitting.
        ValueError: ``ema`` of a file that does not describe its backbone or together with ``backbone``, an unknown type
            of that, or an unknown normalization.
    """
    path = resolve_checkpoint(fspath(checkpoint), which)
    given = None if normalization is None else Normalization.parse(normalization)
    if ema is not None and (backbone is not None or description_of(read_checkpoint(path)) is None):
        raise ValueError(
            f'ema is chosen where the checkpoint describes its backbone and no other is given: leave it out for {path}'
        )
    if backbone is not None:
        prefix = None if branch is None else f'{BRANCHES}{branch}.backbone'
        return _of_config(path, backbone, prefix, frozen, given)
    if description_of(read_checkpoint(path)) is None:
        return _plain_resnet(path, branch, frozen, given)
    stored = find_backbone(path, branch, expanded=None, ema=ema)
    return Backbone(stored.build(), stored.meta, given or Normalization.parse(stored.meta['normalization']), frozen)


def _plain_resnet(path: str, branch: str | None, frozen: bool, normalization: Normalization | None) -> Backbone:
    """Build the plain ResNet of weights without description."""
    try:
        start = read_start(path, branch)
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}. It does not describe its backbone: if it holds one of another kind, give its config, as in '
            "backbone=dict(type='mmdet.ResNet', depth=50, deep_stem=True)"
        ) from error
    if start.settings['depth'] >= _FIRST_WITH_STYLE:
        other = {**start.settings, 'style': 'caffe'}
        print_log(
            f"get_backbone: {path} does not record the style of its bottlenecks; style='pytorch' is assumed, as in "
            f"torchvision. For style='caffe', give backbone={other}",
            'current',
            logging.WARNING,
        )
    return _of_config(path, without_library_defaults(start.settings), start.prefix, frozen, normalization)


def _of_config(
    path: str, config: Mapping[str, Any], prefix: str | None, frozen: bool, normalization: Normalization | None
) -> Backbone:
    if type_of(config, MODELS) is None:
        raise ValueError(
            f'get_backbone: backbone={dict(config)} names no registered type; types of the libraries have a '
            "prefix, as in type='mmdet.ResNet'; ours is type='XLearnerResNet'"
        )
    net = MODELS.build(dict(config))
    meta = load_backbone(net, path, prefix or None)
    described = description_of({'meta': meta}) or {}
    if normalization is None and described:
        normalization = Normalization.parse(described['normalization'])
    return Backbone(net, described, normalization, frozen)


# More than 8 bits per channel: converting them to RGB would clip the larger values.
_DEEP_MODES = ('I', 'F', 'I;16', 'I;16B', 'I;16L', 'I;16N')


def load_image(image: Any) -> Tensor:
    """Return an image as RGB ``(3, H, W)``, float values 0 to 255.

    Args:
        image: a path; a PIL image of 8 bits per channel; an array ``(H, W, 3)`` of RGB uint8; a tensor ``(3, H, W)`` of
            RGB uint8, or of floats between 0 and 1.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: unreadable, or of another type or shape.
    """
    from PIL import Image, UnidentifiedImageError

    what = 'an image'
    if isinstance(image, str | PathLike):
        what = fspath(image)
        try:
            with Image.open(what) as file:
                file.load()
                image = _rgb(file, what)
        except FileNotFoundError:
            raise
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(f'{what} cannot be read as an image: {error}') from error
    if isinstance(image, Image.Image):
        image = _rgb(image, what)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ConfigError(f'an array must be RGB (H, W, 3) of uint8, got {image.shape} of {image.dtype}')
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    if not isinstance(image, Tensor):
        raise ConfigError(f'an image must be a path, a PIL image, an array or a tensor, not {type(image).__name__}')
    if image.dim() != 3 or image.shape[0] != 3:
        raise ConfigError(f'a tensor must be RGB (3, H, W), got {tuple(image.shape)}')
    if image.dtype == torch.uint8:
        return image.float()
    if not image.is_floating_point() or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise ConfigError(
            f'a tensor must hold uint8, or floats between 0 and 1 that are not normalized yet; got {image.dtype} from '
            f'{float(image.min()):.3g} to {float(image.max()):.3g}'
        )
    return image.float() * 255


def _rgb(image: Any, what: str) -> np.ndarray:
    from PIL import ImageOps

    if image.mode in _DEEP_MODES:
        raise ConfigError(f'{what} has more than 8 bits per channel (mode {image.mode}): convert it to 8 bits first')
    # Files store a camera's orientation beside the pixels.
    return np.array(ImageOps.exif_transpose(image).convert('RGB'))


def resize_image(image: Tensor, size: int | tuple[int, int] | None) -> Tensor:
    """Resize ``(3, H, W)`` bilinearly, with antialiasing; ``size`` as of :func:`extract_features`."""
    if size is None:
        return image
    from torchvision.transforms.v2 import functional as F

    if isinstance(size, int):
        return F.center_crop(F.resize(image, [size], antialias=True), [size, size])
    return F.resize(image, list(size), antialias=True)


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
    """Return the features of images.

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
        checkpoint: argument or result of :func:`~xlearner_mm.get_backbone`.
        images: one or more (a list, a generator, an array ``(B, H, W, 3)``, a tensor ``(B, 3, H, W)``): paths, PIL
            images, RGB arrays ``(H, W, 3)`` of uint8, RGB tensors ``(3, H, W)`` of uint8 or of floats between 0 and 1.
        size: an int: the shorter side becomes that, then the center is cropped to a square; ``(height, width)``:
            exactly that; None: images stay as they are. Defaults to 224.
        levels: which levels of the backbone; -1 is the last. Defaults to -1.
        pooled: average each level over its positions. Defaults to True.
        batch_size: images at once. Defaults to 32.
        device: where to compute. Defaults to None: where the backbone is, which is the CPU for a file.
        branch: of an expansion checkpoint, one branch. Defaults to None, see :func:`~xlearner_mm.get_backbone`.

    Returns:
        ``(B, C)``, or ``(B, C, H, W)`` without pooling, on the CPU; for a sequence of levels a tuple of these.

    Raises:
        CheckpointError: of the checkpoint, or it does not record the normalization: pass
            ``get_backbone(checkpoint, normalization=...)`` instead.
        FileNotFoundError: an image that does not exist.
        ValueError: no image, an invalid one, an unknown level, an empty batch, or maps whose sizes differ.
    """
    backbone = checkpoint if isinstance(checkpoint, Backbone) else get_backbone(checkpoint, branch=branch)
    wanted = (levels,) if isinstance(levels, int) else tuple(levels)
    count = len(backbone.channels)
    unknown = [level for level in wanted if not -count <= level < count]
    if unknown:
        raise ValueError(f'levels {unknown} are not of this backbone, which has {count}')
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
    """Switch to eval mode without gradients, and restore every module's mode."""
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
    """Return an iterable of images for one image or several."""
    from PIL import Image

    one = isinstance(images, str | PathLike | Image.Image)
    if isinstance(images, np.ndarray | Tensor):
        one = images.ndim != 4
    return [images] if one else images


def _batches(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Stack consecutive images of one size."""
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
