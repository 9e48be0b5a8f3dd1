"""What both stages distil with: frozen models, guidance layers, FitNet's loss."""

from xlearner_mm.models.distillation.frozen_model import FrozenModel
from xlearner_mm.models.distillation.guidance import Guidance, GuidanceLayer
from xlearner_mm.models.distillation.losses import REDUCTIONS, STANDARDIZE, ChannelStandardizer, fitnet_loss

__all__ = [
    'REDUCTIONS',
    'STANDARDIZE',
    'ChannelStandardizer',
    'FrozenModel',
    'Guidance',
    'GuidanceLayer',
    'fitnet_loss',
]
