"""What both stages distil with: frozen models, guidance layers, FitNet's loss."""

from xlearner_mm.models.distillation.backbone_teacher import BackboneTeacher
from xlearner_mm.models.distillation.frozen_model import FrozenModel
from xlearner_mm.models.distillation.guidance import Guidance, GuidanceLayer
from xlearner_mm.models.distillation.levels import by_level, probe_channels, unreached_parameters
from xlearner_mm.models.distillation.losses import (
    REDUCTIONS,
    STANDARDIZE,
    ChannelStandardizer,
    fitnet_distances,
    fitnet_loss,
)

__all__ = [
    'REDUCTIONS',
    'STANDARDIZE',
    'BackboneTeacher',
    'ChannelStandardizer',
    'FrozenModel',
    'Guidance',
    'GuidanceLayer',
    'by_level',
    'fitnet_distances',
    'fitnet_loss',
    'probe_channels',
    'unreached_parameters',
]
