"""The expanded backbone within a runner's model."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from xlearner_mm.models.expansion import XLearnerExpandedBackbone


def expanded_backbone_of(runner: Runner) -> XLearnerExpandedBackbone | None:
    """Return the branches and links that the runner trains, or None in the squeeze stage, which trains none."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    backbone = getattr(model, 'backbone', None)
    return backbone if isinstance(backbone, XLearnerExpandedBackbone) else None
