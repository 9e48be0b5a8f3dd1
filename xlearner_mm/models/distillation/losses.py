"""FitNet's loss and the scale of its targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

REDUCTIONS = ('mean', 'sum')
STANDARDIZE = ('none', 'channel')


def fitnet_distances(target: Tensor, guided: Tensor, reduction: str = 'mean') -> Tensor:
    """FitNet's squared distance ||F_i^t - G_i^t(Fhat_i)||^2 of every image, ``(B,)``.

    Args:
        target: a branch's features F_i^t, ``(B, C, H, W)``.
        guided: the student's features through the guidance layer, of the same shape.
        reduction: ``'mean'`` per element, or ``'sum'`` over C, H, W. Defaults to ``'mean'``.

    Source: Romero et al., FitNets, ICLR 2015; X-Learner's slides, L_squeeze.
    """
    squares = F.mse_loss(guided, target, reduction='none').flatten(1)
    return squares.mean(1) if reduction == 'mean' else squares.sum(1)


def fitnet_loss(target: Tensor, guided: Tensor, reduction: str = 'mean') -> Tensor:
    """Mean of :func:`fitnet_distances` over the images, a scalar; it takes the same arguments."""
    return fitnet_distances(target, guided, reduction).mean()


class ChannelStandardizer(nn.Module):
    """Running mean and standard deviation per channel of a teacher's features.

    Branches of different scale then weigh the same in the loss. The moments are averages over all training images so
    far, each position of a feature map counting once, shared between the ranks.

    Args:
        channels: C of the features ``(B, C, H, W)``.
        eps: added to the variance. Defaults to 1e-6.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('square', torch.ones(channels))
        self.register_buffer('count', torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, *features: Tensor) -> None:
        """Take in the features of one training step.

        Args:
            features: any number of ``(B, C, H, W)``, also none: every rank calls this once a step, whatever it has.
        """
        sums = self.mean.new_zeros(3, len(self.mean), dtype=torch.float64)
        for feature in features:
            feature = feature.double()
            sums[0] += feature.sum((0, 2, 3))
            sums[1] += feature.square().sum((0, 2, 3))
            sums[2] += feature.numel() // len(self.mean)
        all_reduce(sums)
        new = sums[2, 0]
        self.count += new
        # clamp and tensors throughout: no step waits for the device to ask whether there was anything
        weight = (new / self.count.clamp_min(1)).to(self.mean.dtype)
        moments = (sums[:2] / new.clamp_min(1)).to(self.mean.dtype)
        self.mean.lerp_(moments[0], weight)
        self.square.lerp_(moments[1], weight)

    @property
    def std(self) -> Tensor:
        """Standard deviation per channel, ``(C,)``."""
        return (self.square - self.mean.square()).clamp_min(0).add(self.eps).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """Return standardised features, ``(B, C, H, W)``."""
        return (features - self.mean[:, None, None]) / self.std[:, None, None]

    def inverse(self, features: Tensor) -> Tensor:
        """Return features in the teacher's own scale, ``(B, C, H, W)``."""
        return features * self.std[:, None, None] + self.mean[:, None, None]
