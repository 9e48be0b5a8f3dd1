"""What plugs into MMEngine's runner."""

from xlearner_mm.engine.cpu_amp_optim_wrapper import CpuAmpOptimWrapper
from xlearner_mm.engine.hooks import (
    BranchGradientHook,
    FinalValidationHook,
    LinkStrengthHook,
    SourceEpochHook,
    StageMetaHook,
)
from xlearner_mm.engine.loops import MultiSourceTestLoop, MultiSourceValLoop

__all__ = [
    'BranchGradientHook',
    'CpuAmpOptimWrapper',
    'FinalValidationHook',
    'LinkStrengthHook',
    'MultiSourceTestLoop',
    'MultiSourceValLoop',
    'SourceEpochHook',
    'StageMetaHook',
]
