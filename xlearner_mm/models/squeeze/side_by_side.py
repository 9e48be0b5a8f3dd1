"""The features of teachers and student on the same images, level by level: what one looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from mmengine.model import BaseModel
from torch import Tensor

from xlearner_mm.models.distillation import by_level
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.squeeze.fitnet_distiller import FitNetDistiller

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
        images: ``(B, 3, H, W)``, normalised.

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
    raise TypeError(f'expected an ExpansionLearner or a FitNetDistiller, got {type(model).__name__}')


def _of_squeeze(model: FitNetDistiller, images: Tensor) -> SideBySide:
    branches = model.teacher.features(images, depth=1 + max(model.levels))
    shown: dict[str, ByLevel] = {name: dict(enumerate(levels)) for name, levels in branches.items()}
    shown.update({name: teacher.features(images) for name, teacher in model.further_teachers.items()})
    teachers = {name: {i: shown[name][i] for i in target.channels} for name, target in model.targets.items()}
    student = by_level(model.student, model.student(images))
    guided = {
        name: {i: _guided(model, name, i, student[i], feature) for i, feature in levels.items()}
        for name, levels in teachers.items()
    }
    compared = sorted({i for levels in teachers.values() for i in levels})
    return SideBySide(teachers, {i: student[i] for i in compared}, guided)


def _guided(model: FitNetDistiller, teacher: str, level: int, student: Tensor, feature: Tensor) -> Tensor:
    guided = model.guidance(student, teacher, level, (feature.shape[-2], feature.shape[-1]))
    return guided if model.standardizers is None else model.standardizers[f'{teacher}_{level}'].inverse(guided)
