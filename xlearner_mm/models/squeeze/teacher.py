"""The frozen teacher of the squeeze stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor

from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import (
    CheckpointError,
    load_strictly,
    read_checkpoint,
    resolve_checkpoint,
    sha256_of,
    state_dict_of,
)

Levels = tuple[Tensor, ...]


class Teacher:
    """An expansion stage's learner, frozen.

    No ``nn.Module`` on purpose: what holds it neither trains nor saves it, nor hands it to an optimizer or to DDP.

    Args:
        model: config of the :class:`ExpansionLearner` of the expansion stage.
        checkpoint: that stage's checkpoint.
        fold_norms: fold the branches' and links' BN into the convolutions before them: the same features for less
            work. Defaults to True.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this learner.
    """

    def __init__(self, model: Mapping[str, Any], checkpoint: str, fold_norms: bool = True) -> None:
        self.checkpoint = resolve_checkpoint(checkpoint)
        self.sha256 = sha256_of(self.checkpoint)
        self.learner: ExpansionLearner = MODELS.build(dict(model))
        if not isinstance(self.learner, ExpansionLearner):
            raise CheckpointError(f'the teacher must be an ExpansionLearner, got {type(self.learner).__name__}')
        state = state_dict_of(read_checkpoint(self.checkpoint))
        load_strictly(self.learner, state, f'teacher {self.checkpoint}')
        if fold_norms:
            fuse_conv_bn(self.learner.backbone)
        self.learner.eval().requires_grad_(False)

    def apply(self, fn: Any) -> None:
        """Move or convert the teacher's tensors along with its holder's."""
        self.learner._apply(fn)

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[str, Levels]:
        """F of every branch and level for images ``(B, 3, H, W)``."""
        return self.learner.backbone.forward_branches(x)
