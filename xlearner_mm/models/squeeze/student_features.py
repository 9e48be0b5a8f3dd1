"""What the expansion stage's heads read in the squeeze stage: the student, in a branch's own terms."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from torch import Tensor

from xlearner_mm.models.distillation import by_level

if TYPE_CHECKING:
    from xlearner_mm.models.squeeze.fitnet_distiller import FitNetDistiller


class StudentFeatures:
    """G^t(Fhat) in place of F^t, for a :class:`~xlearner_mm.models.expansion.task_port.TaskPort`.

    Args:
        distiller: the model of the squeeze stage.
        levels: the levels that are read; no others are computed. Defaults to None: all.
    """

    def __init__(self, distiller: FitNetDistiller, levels: Sequence[int] | None = None) -> None:
        self.distiller, self.levels = distiller, levels

    def forward_task(self, x: Tensor, task: str) -> dict[int, Tensor]:
        """Return ``(B, C_i^t, H_i, W_i)`` by level; levels that are not distilled are the branch's own.

        Args:
            x: images ``(B, 3, H, W)``.
            task: the task t.
        """
        distiller, backbone = self.distiller, self.distiller.teacher.learner.backbone
        branch = backbone.branch_of(task)
        wanted = range(len(backbone.channels_of(task))) if self.levels is None else self.levels
        distilled = [i for i in wanted if i in distiller.targets[branch].channels]
        missing = [i for i in wanted if i not in distilled]
        out: dict[int, Tensor] = {}
        if distilled:
            student = by_level(distiller.student, distiller.student(x))
            out.update({i: self._guided(x, branch, i, student[i]) for i in distilled})
        if missing:
            own = distiller.teacher.features(x, [branch], 1 + max(missing))[branch]
            out.update({i: own[i] for i in missing})
        return out

    def _guided(self, x: Tensor, branch: str, level: int, feature: Tensor) -> Tensor:
        """G_i^t(Fhat_i) in the branch's own scale and size: heads know its strides, not the student's."""
        stride = self.distiller.teacher.learner.backbone.branches[branch].strides[level]
        size = (ceil(x.shape[-2] / stride), ceil(x.shape[-1] / stride))
        guided = self.distiller.guidance(feature, branch, level, size)
        standardizers = self.distiller.standardizers
        return guided if standardizers is None else standardizers[f'{branch}_{level}'].inverse(guided)
