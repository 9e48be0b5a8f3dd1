"""A frozen backbone of any registered type that teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.checkpoint import State, load_backbone, recorded_normalization
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.data_preprocessor import normalization_of, tell_loaded_order
from xlearner_mm.models.distillation.frozen_model import FrozenModel
from xlearner_mm.models.distillation.levels import by_level, probe_channels
from xlearner_mm.normalization import BGR, ORDERS, Normalization
from xlearner_mm.registry import MODELS

_SAME_IMAGES = 'both see the same images: make them agree'


class BackboneTeacher(FrozenModel):
    """A frozen backbone whose features are targets.

    Args:
        model: config of any registered backbone, with its ``_scope_``.
        checkpoint: its checkpoint; also one of a stock network that holds it.
        what: what messages call it.
        data_preprocessor: config of the stock data preprocessor that it was trained with. Defaults to None: its
            checkpoint says how its images were normalized.
        autocast: see :class:`~xlearner_mm.models.distillation.FrozenModel`. Defaults to None.
        channel_order: order in which its training images were loaded, before that data preprocessor: ``'bgr'``, as
            OpenMMLab loads files, or ``'rgb'``, as CIFAR's arrays are. Defaults to ``'bgr'``.

    Attributes:
        channels: level -> channels, measured.
        normalization: :class:`~xlearner_mm.normalization.Normalization` of its images.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        ConfigError: its input normalization is not known, an unknown channel order, or outputs that are no feature
            maps.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        checkpoint: str,
        what: str,
        data_preprocessor: Mapping[str, Any] | None = None,
        autocast: str | None = None,
        channel_order: str = BGR,
    ) -> None:
        super().__init__(model, checkpoint, what=what, autocast=autocast)
        if channel_order not in ORDERS:
            raise ConfigError(f"{what}: channel_order is '{channel_order}', not of {ORDERS}")
        self.normalization = self._normalization(data_preprocessor, channel_order)
        self.channels = self._channels()

    def _load(self, state: State) -> None:
        load_backbone(self.module, self.checkpoint)

    def _channels(self) -> dict[int, int]:
        return probe_channels(self.module, self.what)

    def _normalization(self, data_preprocessor: Mapping[str, Any] | None, channel_order: str) -> Normalization:
        if data_preprocessor is not None:
            preprocessor = MODELS.build(dict(data_preprocessor))
            tell_loaded_order(preprocessor, channel_order)
            return normalization_of(preprocessor)
        recorded = recorded_normalization(self.meta)
        if recorded is None:
            raise ConfigError(
                f'{self.what}: {self.checkpoint} does not say how its images were normalized; give the '
                'data_preprocessor that it was trained with'
            )
        return recorded

    def check_normalization(self, expected: Normalization) -> None:
        """Check that it sees images as it was trained to.

        Args:
            expected: how the sources' images are normalized.

        Raises:
            ConfigError: it was trained on images that were normalized in another way.
        """
        self.normalization.check(expected, self.what, 'the sources have', _SAME_IMAGES)

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return ``(B, C_i, H_i, W_i)`` by level for images ``(B, 3, H, W)``."""
        with self.precision(x):
            outputs = self.module(x)
        return by_level(self.module, self.in_precision_of(x, outputs))
