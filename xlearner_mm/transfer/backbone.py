"""A backbone in one line, for people outside of OpenMMLab."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.registry import MODELS, type_of
from xlearner_mm.transfer.checkpoint import CheckpointError, load_backbone, read_checkpoint, resolve_checkpoint
from xlearner_mm.transfer.export.verification import probe_images
from xlearner_mm.transfer.images import Normalisation
from xlearner_mm.transfer.start import read_start
from xlearner_mm.transfer.stored_backbone import description_of, find_backbone

# Blocks of depth 18 and 34 have one style only.
_FIRST_WITH_STYLE = 50


class Backbone(nn.Module):
    """A backbone with what its file says of it.

    Args:
        net: the registered backbone.
        meta: what the file says; empty where it says nothing.
        normalisation: of its input; None where the file does not say.
        frozen: whether it stays in evaluation mode, whatever :meth:`train` is told, and takes no gradients.

    Attributes:
        channels: of every level it gives out.
    """

    def __init__(
        self, net: nn.Module, meta: Mapping[str, Any], normalisation: Normalisation | None, frozen: bool
    ) -> None:
        super().__init__()
        self.net, self.meta, self.normalisation, self.frozen = net, dict(meta), normalisation, frozen
        if frozen:
            self.requires_grad_(False)
        self.eval()
        with torch.no_grad():
            self.channels = tuple(level.shape[1] for level in net(probe_images()))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of every level, ``(B, C_i, H_i, W_i)``, of normalised images ``(B, 3, H, W)``."""
        return tuple(self.net(images))

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise images as in training.

        Args:
            images: RGB ``(..., 3, H, W)``, values 0 to 255.

        Raises:
            CheckpointError: the file does not say how.
        """
        if self.normalisation is None:
            raise CheckpointError(
                'the checkpoint does not say how its input is normalised: give normalisation=(mean, std, order) to '
                "get_backbone, for instance ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 'rgb')"
            )
        return self.normalisation(images)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode and not self.frozen)
        return self


def get_backbone(
    checkpoint: str | PathLike[str],
    frozen: bool = True,
    branch: str | None = None,
    *,
    backbone: Mapping[str, Any] | None = None,
    normalisation: Sequence[Any] | None = None,
    which: str = 'last',
    ema: bool | None = None,
) -> Backbone:
    """Build the backbone that a checkpoint holds, with its weights; no config is needed.

        >>> import torch, xlearner_mm
        >>> backbone = xlearner_mm.get_backbone('backbone.pth')
        >>> levels = backbone(torch.rand(2, 3, 224, 224))
        >>> [tuple(level.shape[-2:]) for level in levels]
        [(56, 56), (28, 28), (14, 14), (7, 7)]
        >>> len(backbone.channels)
        4

    Frozen, it is a feature extractor under a head of one's own:

        >>> head = torch.nn.Linear(backbone.channels[-1], 10)
        >>> model = torch.nn.ModuleDict(dict(backbone=backbone, head=head)).train()
        >>> backbone.training, any(p.requires_grad for p in backbone.parameters())
        (False, False)
        >>> images = torch.randint(256, (2, 3, 64, 64))
        >>> model['head'](model['backbone'](backbone.normalise(images))[-1].mean((2, 3))).shape
        torch.Size([2, 10])

    To train it as well, take it with ``frozen=False``:

        >>> xlearner_mm.get_backbone('backbone.pth', frozen=False).train().training
        True

    Args:
        checkpoint: an export (mm, torchvision, timm or safetensors), a checkpoint of either stage, a work directory, or
            any other file that holds a plain ResNet: of torchvision, or of a detector that was trained on the backbone.
        frozen: stay in evaluation mode and take no gradients. Defaults to True.
        branch: of an expansion checkpoint, one branch, without its links. Defaults to None: its only one, or else the
            whole expanded backbone, whose branches' features are side by side.
        backbone: config of a registered backbone, for files that do not describe theirs, such as
            ``dict(type='mmdet.ResNet', depth=50, deep_stem=True)``. Defaults to None: as the file says, or else the
            plain ResNet that its weights are of, with bottlenecks of ``style='pytorch'``.
        normalisation: ``(mean, std, order)`` in values 0 to 255, order being ``'rgb'`` or ``'bgr'``. Defaults to None:
            as the file says; where it does not, the backbone takes normalised images only.
        which: of a work directory, ``'last'`` or ``'best'``. Defaults to ``'last'``.
        ema: True: the moving average of the weights; False: the model's own; None: what the checkpoint's
            ``state_dict`` holds. Defaults to None.

    Raises:
        CheckpointError: unreadable, neither describing its backbone nor of a plain ResNet, or not fitting it; nothing
            in it is executed.
        ValueError: ``ema`` of a file that does not describe its backbone or together with ``backbone``, an unknown type
            of that, or an unknown normalisation.
    """
    path = resolve_checkpoint(fspath(checkpoint), which)
    given = None if normalisation is None else Normalisation.parse(normalisation)
    if ema is not None and (backbone is not None or description_of(read_checkpoint(path)) is None):
        raise ValueError(
            f'ema is chosen where the checkpoint describes its backbone and no other is given: leave it out for {path}'
        )
    if backbone is not None:
        prefix = None if branch is None else f'backbone.branches.{branch}.backbone'
        return _as_told(path, backbone, prefix, frozen, given)
    if description_of(read_checkpoint(path)) is None:
        return _read_off(path, branch, frozen, given)
    stored = find_backbone(path, branch, expanded=None, ema=ema)
    return Backbone(stored.build(), stored.meta, given or Normalisation.parse(stored.meta['normalisation']), frozen)


def _read_off(path: str, branch: str | None, frozen: bool, normalisation: Normalisation | None) -> Backbone:
    """Build the plain ResNet that weights without a description are of."""
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
            f"get_backbone: {path} does not say where its bottlenecks' strides lie; style='pytorch' is taken, as of "
            f"torchvision. Of style='caffe', give backbone={other}",
            'current',
            logging.WARNING,
        )
    return _as_told(path, without_library_defaults(start.settings), start.prefix, frozen, normalisation)


def _as_told(
    path: str, config: Mapping[str, Any], prefix: str | None, frozen: bool, normalisation: Normalisation | None
) -> Backbone:
    if type_of(config, MODELS) is None:
        raise ValueError(
            f"get_backbone: backbone={dict(config)} names no registered type; as of the libraries', their name comes "
            "first, as in type='mmdet.ResNet', or take type='XLearnerResNet'"
        )
    net = MODELS.build(dict(config))
    meta = load_backbone(net, path, prefix or None)
    described = description_of({'meta': meta}) or {}
    if normalisation is None and described:
        normalisation = Normalisation.parse(described['normalisation'])
    return Backbone(net, described, normalisation, frozen)
