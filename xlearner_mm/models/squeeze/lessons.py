"""Which teacher shows what of which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xlearner_mm.models.distillation import BackboneTeacher
from xlearner_mm.models.squeeze.teacher import Teacher

SUPERVISE = ('all', 'own')


class Lesson(NamedTuple):
    """What one teacher shows of a batch.

    Args:
        features: level i -> F_i^t ``(R, C_i, H_i, W_i)``.
        rows: the R rows of the batch that it shows, or None for all.
    """

    features: Mapping[int, Tensor]
    rows: Tensor | None

    def seen_by(self, student: Tensor) -> Tensor:
        """The student's features ``(B, C, H, W)`` of these rows."""
        return student if self.rows is None else student[self.rows]


class Lessons:
    """All teachers. A branch runs on the images that it teaches and no others, no deeper than is compared.

    Args:
        teacher: the expansion stage.
        further: teachers that are no branches; they teach every image.
        branches: source -> the branch of its task.
        depth: levels of the branches that are compared, from the first.
        supervise: ``'all'``: every branch teaches every image; ``'own'``: its own sources' images.
    """

    def __init__(
        self,
        teacher: Teacher,
        further: Mapping[str, BackboneTeacher],
        branches: Mapping[str, str],
        depth: int,
        supervise: str,
    ) -> None:
        self.teacher, self.further, self.branches = teacher, further, branches
        self.depth, self.supervise = depth, supervise

    def give(self, images: Tensor, owners: Sequence[str]) -> dict[str, Lesson]:
        """Return the lessons of a batch, by teacher; a branch that teaches none of its images gives none.

        Args:
            images: ``(B, 3, H, W)``.
            owners: the source of every image.
        """
        if self.supervise == 'all':
            shown = self.teacher.features(images, depth=self.depth)
            lessons = {branch: Lesson(dict(enumerate(levels)), None) for branch, levels in shown.items()}
        else:
            lessons = self._own(images, owners)
        lessons.update({name: Lesson(teacher.features(images), None) for name, teacher in self.further.items()})
        return lessons

    def _own(self, images: Tensor, owners: Sequence[str]) -> dict[str, Lesson]:
        lessons = {}
        for branch in dict.fromkeys(self.branches.values()):
            mine = [row for row, source in enumerate(owners) if self.branches[source] == branch]
            if mine:
                rows = torch.tensor(mine, device=images.device)
                levels = self.teacher.features(images[rows], [branch], self.depth)[branch]
                lessons[branch] = Lesson(dict(enumerate(levels)), rows)
        return lessons
