"""Backbones that transfer configs name."""

from xlearner_mm.models.backbones.xlearner_resnet import XLearnerResNet

__all__ = ['XLearnerResNet']
