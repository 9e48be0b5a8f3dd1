"""The distance of a teacher's features to a student's, || F_i^t - G_i^t(Fhat_i) ||^2, and its replaceable parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.norms import each, parts_of, ragged, ragged_forwards
from xlearner_mm.registry import MODELS

GUIDANCE = {'type': 'GuidanceLayer'}
LOSS = {'type': 'FitNetLoss'}
STANDARDIZE = {'type': 'ChannelStandardize'}
# A large first guess costs the student a hundred steps to undo, and its initial weights.
_SMALL = {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01}
_STOCK = {'guidance': GUIDANCE, 'loss': LOSS, 'standardize': STANDARDIZE}


class Compared(NamedTuple):
    """A batch of a teacher's features compared with a student's.

    Args:
        distances: of every image, ``(B,)``.
        guided: the student's features through G_i^t, in the teacher's channels and size, ``(B, C, H, W)``.
    """

    distances: Tensor
    guided: Tensor


def compare(
    targets: Sequence[Tensor],
    features: Sequence[Tensor],
    guidance: nn.Module,
    loss: nn.Module,
    standardize: nn.Module | None = None,
) -> list[Compared]:
    """Return the distances of every batch.

    Args:
        targets: a teacher's features F_i^t of batches of one image size each, ``(B, C, H, W)``.
        features: the student's features Fhat_i of the same images.
        guidance: G_i^t; it sees all batches as one, because it may have a norm.
        loss: the distance, see :class:`FitNetLoss`.
        standardize: transform of the targets. Defaults to None.
    """
    if not targets:
        return []
    sizes, batch = ragged([(target.shape[-2], target.shape[-1]) for target in targets]), ragged(features)
    with ragged_forwards(guidance, batch):
        guided = parts_of(guidance(batch, sizes))
    wanted = targets if standardize is None else [standardize(target) for target in targets]
    return [Compared(loss(own, target), own) for own, target in zip(guided, wanted, strict=True)]


def build_part(owner: str, setting: str, config: Mapping[str, Any], **given: Any) -> Any:
    """Build a replaceable part from its config.

    Args:
        owner: whose setting it is, for messages.
        setting: ``'guidance'``, ``'loss'`` or ``'standardize'``.
        config: ``dict(type=..., ...)``.
        given: further arguments of the part.

    Raises:
        ConfigError: the setting is no dict with a type.
    """
    if not isinstance(config, Mapping) or 'type' not in config:
        example = f"dict(type='{_STOCK[setting]['type']}')" + (' or None' if setting == 'standardize' else '')
        raise ConfigError(f'{owner}: {setting} must be {example}, or of another type, got {config!r}')
    return MODELS.build({**config, **given})


def build_parts(
    owner: str, setting: str, config: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]
) -> ModuleDict:
    """Build one part per key, see :func:`build_part`; ``given`` has each one's further arguments."""
    return ModuleDict({key: build_part(owner, setting, config, **own) for key, own in given.items()})


@MODELS.register_module()
class GuidanceLayer(BaseModule):
    """G_i^t: the student's features in a teacher's channels and resolution, by a 1x1 convolution.

    Args:
        in_channels: the student's channels at level i.
        out_channels: the teacher's channels at level i.
        norm: whether a BN follows the convolution. Defaults to False.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: bool = False) -> None:
        super().__init__(init_cfg=_SMALL)
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map the student's ``(B, C, H, W)`` to the teacher's channels and spatial ``size``."""
        return each(_resize, self.norm(self.conv(x)), size)


@MODELS.register_module()
class TwoLayerGuidance(GuidanceLayer):
    """G_i^t of two layers: 1x1 convolution, BN, ReLU, 1x1 convolution.

    It translates more than a :class:`GuidanceLayer`, and like that one is thrown away after the squeeze; how much it
    takes off the student shows in transfer alone.

    Args:
        in_channels: the student's channels at level i.
        out_channels: the teacher's channels at level i.
        hidden_channels: channels in between. Defaults to None: the teacher's.
        norm: whether a BN follows the second convolution. Defaults to False.

    Source: the heads of Ranzinger et al., AM-RADIO, CVPR 2024, and Sariyildiz et al., UNIC, arXiv 2408.05088.
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden_channels: int | None = None, norm: bool = False
    ) -> None:
        width = hidden_channels or out_channels
        super().__init__(width, out_channels, norm)
        self.init_cfg: Any = {**_SMALL, 'override': {'type': 'Kaiming', 'name': 'hidden'}}
        self.hidden, self.hidden_norm = nn.Conv2d(in_channels, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map the student's ``(B, C, H, W)`` to the teacher's channels and spatial ``size``."""
        return super().forward(self.hidden_norm(self.hidden(x)).relu(), size)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='bilinear', align_corners=False)


@MODELS.register_module()
class FitNetLoss(nn.Module):
    """The squared distance ||F_i^t - G_i^t(Fhat_i)||^2 of every image.

    A loss of your own is a registered module with the same ``forward``.

    Args:
        reduction: ``'mean'`` per element, or ``'sum'`` over C, H, W. Defaults to ``'mean'``.

    Raises:
        ConfigError: an unknown reduction.

    Source: Romero et al., FitNets, ICLR 2015; X-Learner's slides, L_squeeze.
    """

    def __init__(self, reduction: str = 'mean') -> None:
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ConfigError(f"FitNetLoss: unknown reduction '{reduction}', choose 'mean' or 'sum'")
        self.reduction = reduction

    def forward(self, guided: Tensor, target: Tensor) -> Tensor:
        """Return the distances ``(B,)`` of two features ``(B, C, H, W)``."""
        squares = F.mse_loss(guided, target, reduction='none').flatten(1)
        return squares.mean(1) if self.reduction == 'mean' else squares.sum(1)


@MODELS.register_module()
class SmoothL1CosineLoss(nn.Module):
    """Smooth L1, and one minus the cosine of the two vectors of channels at every position.

    Args:
        smooth_l1: weight of the smooth L1 distance, the mean over C, H, W. Defaults to 0.5.
        cosine: weight of one minus the cosine, the mean over H, W. Defaults to 0.5.
        beta: below this difference smooth L1 is quadratic. Defaults to 1.0.

    Raises:
        ConfigError: a negative weight, both 0, or a ``beta`` that is not positive.

    Source: Sariyildiz et al., UNIC, arXiv 2408.05088 (0.5 and 0.5); Ranzinger et al., AM-RADIO, CVPR 2024 (smooth L1
    0.1, cosine 0.9).
    """

    def __init__(self, smooth_l1: float = 0.5, cosine: float = 0.5, beta: float = 1.0) -> None:
        super().__init__()
        if min(smooth_l1, cosine) < 0 or smooth_l1 + cosine <= 0 or beta <= 0:
            raise ConfigError(
                'SmoothL1CosineLoss: weights must not be negative nor both 0, and beta positive, got '
                f'smooth_l1={smooth_l1}, cosine={cosine}, beta={beta}'
            )
        self.smooth_l1, self.cosine, self.beta = smooth_l1, cosine, beta

    def forward(self, guided: Tensor, target: Tensor) -> Tensor:
        """Return the distances ``(B,)`` of two features ``(B, C, H, W)``."""
        # In the targets' precision also under autocast, as FitNetLoss, whose square autocast itself lifts.
        guided = guided.to(torch.promote_types(guided.dtype, target.dtype))
        smooth = F.smooth_l1_loss(guided, target, reduction='none', beta=self.beta).flatten(1).mean(1)
        cosine = F.cosine_similarity(guided, target).flatten(1).mean(1)
        return self.smooth_l1 * smooth + self.cosine * (1 - cosine)


class TargetTransform(nn.Module):
    """Base class of transforms of a teacher's features before they are compared, one per teacher and level.

    A transform of your own is a registered subclass; its buffers are saved in checkpoints.

    Args:
        channels: C of the features ``(B, C, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def update(self, *features: Tensor) -> None:
        """Update statistics with the features of one training step.

        Args:
            features: any number of ``(B, C, H, W)``, also none: every rank calls this once per step, in the same order.
        """

    def forward(self, features: Tensor) -> Tensor:
        """Return transformed features, ``(B, C, H, W)``."""
        raise NotImplementedError

    def inverse(self, features: Tensor) -> Tensor:
        """Return transformed features in the teacher's own scale, which its heads read, ``(B, C, H, W)``."""
        raise NotImplementedError


@MODELS.register_module()
class ChannelStandardize(TargetTransform):
    """Standardize by the running mean and standard deviation of every channel.

    Teachers of different scale then weigh the same in the loss. The moments are averages over all training images so
    far, each position of a feature map counting once, shared between the ranks.

    Args:
        channels: C of the features ``(B, C, H, W)``.
        eps: added to the variance. Defaults to 1e-6.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels)
        self.eps = eps
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('square', torch.ones(channels))
        self.register_buffer('count', torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, *features: Tensor) -> None:
        """Update the moments with the features of one training step, of all ranks."""
        sums = self.mean.new_zeros(3, self.channels, dtype=torch.float64)
        for feature in features:
            feature = feature.to(torch.float64, copy=True)
            sums[0] += feature.sum((0, 2, 3))
            sums[1] += feature.square_().sum((0, 2, 3))
            sums[2] += feature.numel() // self.channels
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
        """Return standardized features, ``(B, C, H, W)``."""
        return (features - self.mean[:, None, None]).div_(self.std[:, None, None])

    def inverse(self, features: Tensor) -> Tensor:
        """Return features in the teacher's own scale, ``(B, C, H, W)``."""
        return features * self.std[:, None, None] + self.mean[:, None, None]
