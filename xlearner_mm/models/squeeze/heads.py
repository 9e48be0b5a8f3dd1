"""The expansion stage's frozen heads on the student of a squeeze: fidelity, and terms of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any

from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

from xlearner_mm.models.distillation.teachers import by_level
from xlearner_mm.models.expansion.stock_network import port_of
from xlearner_mm.models.squeeze.teachers import Target, Teacher


class StudentOfHeads(BaseModel):
    """A student whose features, through the guidance layers, the teacher's frozen heads read in place of F^t.

    Attributes:
        teacher: the expansion stage, frozen.
        student: the student.
        targets: teacher -> what it teaches.
        guidance: ``<teacher>_<level>`` -> G_i^t.
        standardizers: transforms of targets, of the same names; empty without.
    """

    teacher: Teacher
    student: nn.Module
    targets: dict[str, Target]
    guidance: ModuleDict
    standardizers: ModuleDict
    _heads_read_branches = False

    def _standardizer(self, teacher: str, level: int) -> Any:
        return self.standardizers[f'{teacher}_{level}'] if self.standardizers else None

    def guided(self, teacher: str, level: int, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Return G_i^t(Fhat_i) of a spatial size, in the teacher's own scale."""
        guided = self.guidance[f'{teacher}_{level}'](feature, size)
        standardize = self._standardizer(teacher, level)
        return guided if standardize is None else standardize.inverse(guided)

    def predict(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list] | None) -> list:
        """Predict with the expansion stage's frozen heads on the student: the squeeze's fidelity."""
        learner = self.teacher.learner
        for name in inputs:
            port = port_of(learner.networks[name])
            assert port is not None
            # Bound anew: copies of this model (EMA) share the heads.
            student = partial(self.forward_task, levels=port.out_indices)
            port.bind(learner.backbone.forward_task if self._heads_read_branches else student)
        return learner(inputs, data_samples, mode='predict')

    @contextmanager
    def heads_on_branches(self) -> Iterator[None]:
        """Let ``predict`` read the branches themselves meanwhile, with which the student is compared."""
        self._heads_read_branches = True
        try:
            yield
        finally:
            self._heads_read_branches = False

    def forward_task(self, x: Tensor, task: str, levels: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Return G^t(Fhat) of one task in the branch's own scale and sizes, which its heads read in place of F^t.

        Args:
            x: images ``(B, 3, H, W)``.
            task: the task t.
            levels: the levels wanted; no others are computed. Defaults to None: all.

        Returns:
            ``(B, C_i^t, H_i, W_i)`` by level; levels that are not distilled are the branch's own.
        """
        backbone = self.teacher.learner.backbone
        branch = backbone.branch_of(task)
        wanted = range(len(backbone.channels_of(task))) if levels is None else levels
        distilled = [i for i in wanted if i in self.targets[branch].channels]
        missing = [i for i in wanted if i not in distilled]
        out: dict[int, Tensor] = {}
        if distilled:
            student = by_level(self.student, self.student(x))
            strides = backbone.branches[branch].strides
            sizes = {i: (ceil(x.shape[-2] / strides[i]), ceil(x.shape[-1] / strides[i])) for i in distilled}
            out.update({i: self.guided(branch, i, student[i], sizes[i]) for i in distilled})
        if missing:
            own = self.teacher.features(x, [branch], 1 + max(missing))[branch]
            out.update({i: own[i] for i in missing})
        return out
