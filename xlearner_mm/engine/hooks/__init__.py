"""Hooks of the runner."""

from xlearner_mm.engine.hooks.accumulation_hook import AccumulationHook
from xlearner_mm.engine.hooks.bad_image_hook import BadImageHook
from xlearner_mm.engine.hooks.branch_gradient_hook import BranchGradientHook
from xlearner_mm.engine.hooks.feature_similarity_hook import FeatureSimilarityHook
from xlearner_mm.engine.hooks.fidelity_hook import FidelityHook
from xlearner_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from xlearner_mm.engine.hooks.hook_state_hook import HookStateHook
from xlearner_mm.engine.hooks.link_strength_hook import LinkStrengthHook
from xlearner_mm.engine.hooks.loop_units_hook import LoopUnitsHook
from xlearner_mm.engine.hooks.multi_source_check_hook import MultiSourceCheckHook
from xlearner_mm.engine.hooks.progress_hook import ProgressHook
from xlearner_mm.engine.hooks.pruning_hook import PruningHook
from xlearner_mm.engine.hooks.run_record_hook import RunRecordHook
from xlearner_mm.engine.hooks.source_epoch_hook import SourceEpochHook
from xlearner_mm.engine.hooks.stage_meta_hook import StageMetaHook
from xlearner_mm.engine.hooks.step_seed_hook import StepSeedHook
from xlearner_mm.engine.hooks.validation_hook import ValidationHook
from xlearner_mm.engine.hooks.whole_checkpoint_hook import WholeCheckpointHook
from xlearner_mm.engine.recovery.stop_signal import StopSignalHook

__all__ = [
    'AccumulationHook',
    'BadImageHook',
    'BranchGradientHook',
    'FeatureSimilarityHook',
    'FidelityHook',
    'FiniteLossHook',
    'HookStateHook',
    'LinkStrengthHook',
    'LoopUnitsHook',
    'MultiSourceCheckHook',
    'ProgressHook',
    'PruningHook',
    'RunRecordHook',
    'SourceEpochHook',
    'StageMetaHook',
    'StepSeedHook',
    'StopSignalHook',
    'ValidationHook',
    'WholeCheckpointHook',
]
