"""Optimization branch by branch."""

from xlearner_mm.engine.optim.constructor import PerBranchOptimWrapperConstructor
from xlearner_mm.engine.optim.loss_weights import like, refuse_weights_without_effect
from xlearner_mm.engine.optim.wrapper import (
    BranchClipping,
    PerBranchOptimWrapper,
    check_schedule_names,
    wrappers_of,
)

__all__ = [
    'BranchClipping',
    'PerBranchOptimWrapper',
    'PerBranchOptimWrapperConstructor',
    'check_schedule_names',
    'like',
    'refuse_weights_without_effect',
    'wrappers_of',
]
