"""XLearnerResNet in mmseg's arithmetic, keys, arguments and defaults."""

from mmseg.models.backbones import ResNet

from xlearner_mm.models.backbones import xlearner_resnet


class XLearnerResNet(xlearner_resnet.XLearnerResNet, ResNet):
    """mmseg's stock ResNet that loads strictly; built by :class:`~xlearner_mm.models.backbones.XLearnerResNet`."""
