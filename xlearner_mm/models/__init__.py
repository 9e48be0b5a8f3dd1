"""Models of both stages, and the backbone that transfer configs name."""

from xlearner_mm.models.backbones import XLearnerResNet
from xlearner_mm.models.data_preprocessor import MultiSourceDataPreprocessor
from xlearner_mm.models.expansion import ExpansionLearner, TaskPort, XLearnerExpandedBackbone
from xlearner_mm.models.squeeze import FitNetDistiller

__all__ = [
    'ExpansionLearner',
    'FitNetDistiller',
    'MultiSourceDataPreprocessor',
    'TaskPort',
    'XLearnerExpandedBackbone',
    'XLearnerResNet',
]
