"""Families of stock backbones that can be branches: how each is run stage by stage."""

from xlearner_mm.models.expansion.stages.base import Stages, StagesError, stages_of
from xlearner_mm.models.expansion.stages.convnext import ConvNeXtStages
from xlearner_mm.models.expansion.stages.resnet import ResNetStages
from xlearner_mm.models.expansion.stages.swin import SwinStages

__all__ = ['ConvNeXtStages', 'ResNetStages', 'Stages', 'StagesError', 'SwinStages', 'stages_of']
