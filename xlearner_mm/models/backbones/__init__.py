"""Backbones that transfer configs name."""

from xlearner_mm.models.backbones.xlearner_resnet import XLearnerResNet, resnet_class, without_library_defaults

__all__ = ['XLearnerResNet', 'resnet_class', 'without_library_defaults']
