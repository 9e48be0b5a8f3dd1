"""Centered kernel alignment: how alike two networks' features are, whatever their channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation.teachers import by_level
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.squeeze.fitnet_distiller import FitNetDistiller


class LinearCKA:
    r"""Linear CKA of two features, over any number of batches.

        CKA(X, Y) = HSIC(XX', YY') / sqrt(HSIC(XX', XX') HSIC(YY', YY'))

    1 for features that are equal up to a rotation of their channels, one scale and a shift; 0 for features that have
    nothing to do with each other. HSIC is the unbiased estimate of all samples together: the plain one takes any two
    features for alike where there are few samples for many channels, and a mean over batches' own values depends on
    their size. Here only sums over samples are kept, so batches may be of any size, one sample included, and n x n
    Gram matrices are never built. An estimate may come out slightly below 0 where the truth is 0.

    Args:
        unbiased: the unbiased estimate, or the paper's plain one, which is in [0, 1]. Defaults to True.

    Source: Kornblith et al., Similarity of neural network representations revisited, ICML 2019; the unbiased HSIC of
        Song et al., JMLR 2012, as used by Nguyen et al., Do wide and deep networks learn the same things?, ICLR 2021.
    """

    def __init__(self, unbiased: bool = True) -> None:
        self.unbiased = unbiased
        self._pairs = {'xx': _Products(), 'yy': _Products(), 'xy': _Products()}
        self._origins: tuple[Tensor, Tensor] | None = None

    def update(self, x: Tensor, y: Tensor) -> None:
        """Take in the same samples of both features, in double precision.

        Args:
            x: ``(n, C)``.
            y: ``(n, D)``.

        Raises:
            ValueError: they are no matrices with the same number of rows.
        """
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(f'CKA compares (n, C) with (n, D), got {tuple(x.shape)} and {tuple(y.shape)}')
        x, y = x.detach().double(), y.detach().double()
        # A shift changes no CKA, but sums of features far from zero would cancel out their digits.
        self._origins = self._origins or (x.mean(0), y.mean(0))
        x, y = x - self._origins[0], y - self._origins[1]
        self._pairs['xx'].add(x, x)
        self._pairs['yy'].add(y, y)
        self._pairs['xy'].add(x, y)

    def compute(self) -> float:
        """Return the CKA of all samples so far; NaN if one of the features is the same for all of them.

        Raises:
            ValueError: fewer than 4 samples, which the unbiased estimate needs.
        """
        xx, yy, xy = (pair.hsic(self.unbiased) for pair in self._pairs.values())
        return float(xy / (xx * yy).clamp_min(0).sqrt()) if xx > 0 and yy > 0 else float('nan')


def positions(*features: Tensor, grid: int = 8) -> tuple[Tensor, ...]:
    """Turn feature maps into samples: the channels at the places of one even grid over the image.

    A guidance layer maps the student's channels to a branch's at each position on its own, so positions are what it
    learns from. Every image gives the same number, large ones too; maps of different size are read at the same places.

    Args:
        features: any number of ``(B, C_k, H_k, W_k)`` of the same images.
        grid: most places along a side; the smallest map may have fewer. Defaults to 8.

    Returns:
        One ``(B * h * w, C_k)`` for each feature.
    """
    size = tuple(min(grid, *(feature.shape[side] for feature in features)) for side in (-2, -1))
    sampled = (F.interpolate(feature, size=size, mode='nearest-exact') for feature in features)
    return tuple(feature.permute(0, 2, 3, 1).flatten(0, 2) for feature in sampled)


class _Products:
    """Sums over samples from which both estimates of HSIC(XX', YY') follow."""

    def __init__(self) -> None:
        self.n = 0
        self._sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        a, b = x.square().sum(1), y.square().sum(1)  # the diagonals of the Gram matrices
        sums = (x.T @ y, x.sum(0), y.sum(0), x.T @ b, y.T @ a, a @ b, a.sum(), b.sum())
        self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)] if self.n else list(sums)
        self.n += len(x)

    def hsic(self, unbiased: bool) -> Tensor:
        if self.n < 4:
            raise ValueError(f'CKA needs at least 4 samples, got {self.n}')
        n, (xy, x, y, xb, ya, ab, a, b) = self.n, self._sums
        if not unbiased:
            return (xy - torch.outer(x, y) / n).square().sum() / (n - 1) ** 2
        # K and L are the Gram matrices without their diagonals a and b; 1 is the vector of ones.
        trace_kl = xy.square().sum() - ab
        k_sum, l_sum = x @ x - a, y @ y - b  # 1'K1, 1'L1
        cross = x @ xy @ y - x @ xb - y @ ya + ab  # 1'KL1
        return (trace_kl + k_sum * l_sum / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


ByLevel = Mapping[int, Tensor]


@dataclass(frozen=True)
class SideBySide:
    """Features of the same images, each by level as ``(B, C, H, W)``.

    Args:
        teachers: t -> F_i^t of the branches, and of further teachers.
        student: Fhat_i; empty in the expansion stage.
        guided: t -> G_i^t(Fhat_i) in the scale and size of F_i^t; empty in the expansion stage.
    """

    teachers: Mapping[str, ByLevel]
    student: ByLevel
    guided: Mapping[str, ByLevel]


@torch.no_grad()
def side_by_side(model: BaseModel, images: Tensor) -> SideBySide:
    """Return the features of a model of either stage, in evaluation mode; its modes are as before afterwards.

    Args:
        model: an :class:`~xlearner_mm.models.expansion.ExpansionLearner` or a
            :class:`~xlearner_mm.models.squeeze.FitNetDistiller`; of the latter, the levels that are distilled.
        images: ``(B, 3, H, W)``, normalized.

    Raises:
        TypeError: a model of neither stage.
    """
    training = model.training
    model.eval()
    try:
        if isinstance(model, FitNetDistiller):
            return _of_squeeze(model, images)
        if isinstance(model, ExpansionLearner):
            branches = model.backbone.forward_branches(images)
            return SideBySide({name: dict(enumerate(levels)) for name, levels in branches.items()}, {}, {})
    finally:
        model.train(training)
    raise ConfigError(f'expected an ExpansionLearner or a FitNetDistiller, got {type(model).__name__}')


def _of_squeeze(model: FitNetDistiller, images: Tensor) -> SideBySide:
    branches = model.teacher.features(images, depth=1 + max(model.levels))
    shown: dict[str, ByLevel] = {name: dict(enumerate(levels)) for name, levels in branches.items()}
    shown.update({name: teacher.features(images) for name, teacher in model.further_teachers.items()})
    teachers = {name: {i: shown[name][i] for i in target.channels} for name, target in model.targets.items()}
    student = by_level(model.student, model.student(images))
    guided = {
        name: {i: model.guided(name, i, student[i], (f.shape[-2], f.shape[-1])) for i, f in levels.items()}
        for name, levels in teachers.items()
    }
    compared = sorted({i for levels in teachers.values() for i in levels})
    return SideBySide(teachers, {i: student[i] for i in compared}, guided)
