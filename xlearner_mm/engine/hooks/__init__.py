"""Hooks of the runner."""

from xlearner_mm.engine.hooks.final_validation_hook import FinalValidationHook
from xlearner_mm.engine.hooks.stage_meta_hook import StageMetaHook

__all__ = ['FinalValidationHook', 'StageMetaHook']
