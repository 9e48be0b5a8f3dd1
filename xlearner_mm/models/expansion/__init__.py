"""Expansion: one sub-backbone per task, linked by reconciliation layers."""

from xlearner_mm.models.expansion import stages  # noqa: F401
from xlearner_mm.models.expansion.data_parallel import BranchDataParallel
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.expansion.links import Link
from xlearner_mm.models.expansion.reconciliation import Reconciliation
from xlearner_mm.models.expansion.stock_network import TaskPort

__all__ = [
    'BranchDataParallel',
    'ExpansionLearner',
    'Link',
    'Reconciliation',
    'TaskPort',
    'XLearnerExpandedBackbone',
]
