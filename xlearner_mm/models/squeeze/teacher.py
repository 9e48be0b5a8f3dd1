"""The frozen teacher of the squeeze stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor

from xlearner_mm.models.distillation import FrozenModel
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.transfer.checkpoint import CheckpointError

Levels = tuple[Tensor, ...]


class Teacher(FrozenModel):
    """An expansion stage's learner, frozen.

    Args:
        model: config of the :class:`ExpansionLearner` of the expansion stage.
        checkpoint: that stage's checkpoint.
        fold_norms: fold the branches' and links' BN into the convolutions before them: the same features for less
            work. Defaults to True.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this learner.
    """

    def __init__(self, model: Mapping[str, Any], checkpoint: str, fold_norms: bool = True) -> None:
        super().__init__(model, checkpoint)
        if not isinstance(self.module, ExpansionLearner):
            raise CheckpointError(f'the teacher must be an ExpansionLearner, got {type(self.module).__name__}')
        self.learner: ExpansionLearner = self.module
        if fold_norms:
            fuse_conv_bn(self.learner.backbone)
            self.freeze()  # folding makes new parameters

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[str, Levels]:
        """F of every branch and level for images ``(B, 3, H, W)``."""
        return self.learner.backbone.forward_branches(x)
