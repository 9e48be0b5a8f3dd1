"""Transforms of a teacher's features by one scale, also rotated so that all channels vary equally (PHI-S)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast
from torch import Tensor

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation.comparison import ChannelStandardize
from xlearner_mm.registry import MODELS


@MODELS.register_module()
class ScalarStandardize(ChannelStandardize):
    """Subtract the running mean of every channel and divide by one standard deviation of all channels together.

    Teachers and levels of different scale weigh the same in the loss, channels of one level as much as they vary.

    Args:
        channels: C of the features ``(B, C, H, W)``.
        eps: added to the variance. Defaults to 1e-6.

    Source: "global standardization" of Ranzinger et al., PHI-S, arXiv 2410.01680.
    """

    @property
    def std(self) -> Tensor:
        """Square root of the mean variance, the same for all channels, ``(C,)``."""
        variance = (self.square - self.mean.square()).clamp_min(0)
        return variance.mean().add(self.eps).sqrt().expand(self.channels)


@MODELS.register_module()
class PHIStandardize(ScalarStandardize):
    """PHI-S: rotate the channels so that all have the same variance, then divide by its square root.

        y = H U^T (x - mean) / std        U: eigenvectors of the covariance; H: a Hadamard-like rotation

    Every channel then weighs the same, as with ``ChannelStandardize``, but the error in every direction of the
    teacher's own space counts the same, as with :class:`ScalarStandardize`. H is a Hadamard matrix where C is a power
    of two, see :func:`equalizing_rotation` for other C.

    Mean and scale are averages over all training images so far, of all ranks. The covariance is too, but read at few
    steps: a new rotation is another target, which guidance layers have to learn again. After the last of them the
    rotation stays, and no covariance is computed any more.

    Args:
        channels: C of the features ``(B, C, H, W)``.
        eps: added to the variance. Defaults to 1e-6.
        refits: training steps, from 1, after which the rotation is computed. Defaults to (1, 4, 16, 64).

    Raises:
        ConfigError: ``refits`` without a step, or that are no positive integers.

    Source: Ranzinger et al., PHI-S: Distribution Balancing for Label-Free Multi-Teacher Distillation, arXiv 2410.01680.
    """

    rotation: Tensor
    product: Tensor
    steps: Tensor

    def __init__(self, channels: int, eps: float = 1e-6, refits: Collection[int] = (1, 4, 16, 64)) -> None:
        super().__init__(channels, eps)
        if not isinstance(refits, Collection) or not refits or any(type(s) is not int or s < 1 for s in refits):
            raise ConfigError(f'PHIStandardize: refits must be steps from 1, as (1, 4, 16, 64), got {refits!r}')
        self.refits = frozenset(refits)
        self.register_buffer('rotation', torch.eye(channels))
        self.register_buffer('product', torch.zeros(channels, channels))
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        self._is_final = False  # past the last refit: the steps need not be read from the device any more

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._is_final = False
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def update(self, *features: Tensor) -> None:
        """Update the moments with the features of one training step, of all ranks, and perhaps the rotation."""
        before = self.count.clone()
        super().update(*features)
        self.steps += 1
        if self._is_final:
            return
        # Not counted apart from the buffer, which a skipped step restores.
        steps = int(self.steps)
        if steps > max(self.refits):
            self._is_final = True
            return
        products = torch.zeros_like(self.product)
        with torch.autocast(products.device.type, enabled=False):
            for feature in features:
                columns = feature.to(products.dtype).transpose(0, 1).flatten(1)
                products += columns @ columns.T
        all_reduce(products)
        self.product.lerp_(
            products / (self.count - before).clamp_min(1).to(products.dtype),
            (1 - before / self.count.clamp_min(1)).to(products.dtype),
        )
        if steps in self.refits:
            self._refit()

    def _refit(self) -> None:
        covariance = (self.product.double() - torch.outer(self.mean.double(), self.mean.double())).cpu()
        variances, vectors = torch.linalg.eigh(covariance)
        self.rotation.copy_(equalizing_rotation(variances.clamp_min(0)) @ vectors.T)
        broadcast(self.rotation)  # ranks on unlike machines may find eigenvectors of another sign

    def forward(self, features: Tensor) -> Tensor:
        """Return rotated features of unit variance, ``(B, C, H, W)``."""
        return _mix_channels(self.rotation, super().forward(features))

    def inverse(self, features: Tensor) -> Tensor:
        """Return features in the teacher's own channels and scale, ``(B, C, H, W)``."""
        return super().inverse(_mix_channels(self.rotation.T, features))


def equalizing_rotation(variances: Tensor) -> Tensor:
    """Return an orthogonal matrix R, ``(C, C)``, that gives uncorrelated channels equal variances.

    With C = 2^k m and m odd, R is the Kronecker product of Sylvester's Hadamard matrix of 2^k and an orthogonal matrix
    of m: Hartley's, whose entries are of about one magnitude, corrected by at most m - 1 plane rotations, each of
    which gives one channel the mean variance exactly (Bendel and Mickey 1978).

    Args:
        variances: of the channels, not negative, ``(C,)``.
    """
    odd = len(variances)
    hadamard = variances.new_ones(1, 1)
    while odd % 2 == 0:
        odd //= 2
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)]) / 2**0.5
    angles = torch.arange(odd, dtype=variances.dtype)
    angles = torch.outer(angles, angles) * (2 * torch.pi / odd)
    hartley = (angles.cos() + angles.sin()) / odd**0.5
    return torch.kron(hadamard, _corrected(hartley, variances.view(-1, odd).mean(0)))


def _corrected(rotation: Tensor, variances: Tensor) -> Tensor:
    """Rotate on until every output has the mean of some uncorrelated inputs' variances."""
    mean = variances.mean()
    covariance = (rotation * variances) @ rotation.T
    for _ in range(len(variances) - 1):
        excess = covariance.diagonal() - mean
        pair = [int(excess.argmin()), int(excess.argmax())]
        low, high = excess[pair].tolist()
        if high <= 1e-12 * float(mean) or low >= 0:
            break
        # tan of the smaller of the two angles after which the first of the pair has the mean variance
        cross = float(covariance[pair[0], pair[1]])
        root = (cross * cross - low * high) ** 0.5
        tan = (cross - root if cross >= 0 else cross + root) / high
        plane = variances.new_tensor([[1, -tan], [tan, 1]]) / (1 + tan * tan) ** 0.5
        rotation[pair] = plane @ rotation[pair]
        covariance[pair] = plane @ covariance[pair]
        covariance[:, pair] = covariance[:, pair] @ plane.T
    return rotation


def _mix_channels(matrix: Tensor, features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        mixed = matrix @ features.to(matrix.dtype).flatten(2)
    return mixed.unflatten(2, features.shape[2:])
