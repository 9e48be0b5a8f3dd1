"""Hooks of the runner."""

from xlearner_mm.engine.hooks.branch_gradient_hook import BranchGradientHook
from xlearner_mm.engine.hooks.final_validation_hook import FinalValidationHook
from xlearner_mm.engine.hooks.link_strength_hook import LinkStrengthHook
from xlearner_mm.engine.hooks.source_epoch_hook import SourceEpochHook
from xlearner_mm.engine.hooks.stage_meta_hook import StageMetaHook

__all__ = ['BranchGradientHook', 'FinalValidationHook', 'LinkStrengthHook', 'SourceEpochHook', 'StageMetaHook']
