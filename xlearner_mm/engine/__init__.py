"""What plugs into MMEngine's runner."""

from xlearner_mm.engine.cpu_amp_optim_wrapper import CpuAmpOptimWrapper
from xlearner_mm.engine.hooks import (
    BranchGradientHook,
    FeatureSimilarityHook,
    FidelityHook,
    FiniteLossHook,
    LinkStrengthHook,
    MissedValidationHook,
    PruningHook,
    SourceEpochHook,
    StageMetaHook,
    StepSeedHook,
    WholeCheckpointHook,
)
from xlearner_mm.engine.loops import MultiSourceTestLoop, MultiSourceValLoop
from xlearner_mm.engine.optim import PerBranchOptimWrapper, PerBranchOptimWrapperConstructor
from xlearner_mm.engine.runner import XLearnerRunner

__all__ = [
    'BranchGradientHook',
    'CpuAmpOptimWrapper',
    'FeatureSimilarityHook',
    'FidelityHook',
    'FiniteLossHook',
    'LinkStrengthHook',
    'MissedValidationHook',
    'MultiSourceTestLoop',
    'MultiSourceValLoop',
    'PerBranchOptimWrapper',
    'PerBranchOptimWrapperConstructor',
    'PruningHook',
    'SourceEpochHook',
    'StageMetaHook',
    'StepSeedHook',
    'WholeCheckpointHook',
    'XLearnerRunner',
]
