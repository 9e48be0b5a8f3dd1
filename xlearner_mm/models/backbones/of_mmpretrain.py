"""XLearnerResNet in mmpretrain's arithmetic, keys, arguments and defaults."""

from mmpretrain.models.backbones import ResNet

from xlearner_mm.models.backbones import xlearner_resnet


class XLearnerResNet(xlearner_resnet.XLearnerResNet, ResNet):
    """mmpretrain's stock ResNet that loads strictly; built by :class:`~xlearner_mm.models.backbones.XLearnerResNet`."""
