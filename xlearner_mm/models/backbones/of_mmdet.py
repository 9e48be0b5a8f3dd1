"""XLearnerResNet in mmdet's arithmetic, keys, arguments and defaults."""

from mmdet.models.backbones import ResNet

from xlearner_mm.models.backbones import xlearner_resnet


class XLearnerResNet(xlearner_resnet.XLearnerResNet, ResNet):
    """mmdet's stock ResNet that loads strictly; built by :class:`~xlearner_mm.models.backbones.XLearnerResNet`."""
