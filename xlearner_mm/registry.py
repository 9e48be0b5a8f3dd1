"""Handles on MMEngine's root registries.

Everything of ours is registered once, in the *root* registries: a class in root ``MODELS`` is found without a prefix
from the scopes of mmdet, mmseg and mmpretrain, which is why a downstream config needs nothing but
``type='XLearnerResNet'``.
"""

from mmengine.evaluator import Evaluator
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    RUNNERS,
    DefaultScope,
    init_default_scope,
)

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'FUNCTIONS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'RUNNERS',
    'DefaultScope',
    'Evaluator',
    'init_default_scope',
]
