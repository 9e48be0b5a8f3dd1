"""Which teacher shows what of which images, and how much each image counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xlearner_mm.models.distillation import BackboneTeacher
from xlearner_mm.models.squeeze.teacher import Teacher

SUPERVISE = ('all', 'own')
BALANCE = ('source', 'image')


class Lesson(NamedTuple):
    """What one teacher shows of a batch.

    Args:
        features: level i -> F_i^t ``(R, C_i, H_i, W_i)``.
        owners: the source of each of the R images.
        rows: the R rows of the batch that it shows, or None for all.
    """

    features: Mapping[int, Tensor]
    owners: Sequence[str]
    rows: Tensor | None

    def seen_by(self, student: Tensor) -> Tensor:
        """The student's features ``(B, C, H, W)`` of these rows."""
        return student if self.rows is None else student[self.rows]

    def image_weights(self, of_source: Mapping[str, float]) -> Tensor:
        """Return the weight of each of the R images, ``(R,)``.

        Args:
            of_source: source -> the weight of one of its images.
        """
        device = next(iter(self.features.values())).device
        return torch.tensor([of_source[source] for source in self.owners], device=device)


class Lessons:
    """All teachers. A branch runs on the images that it teaches and no others, no deeper than is compared.

    Args:
        teacher: the expansion stage.
        further: teachers that are no branches; they teach every image.
        branches: source -> the branch of its task.
        depth: levels of the branches that are compared, from the first.
        supervise: ``'all'``: every branch teaches every image; ``'own'``: its own sources' images.
        balance: ``'source'``: all sources that a teacher teaches weigh the same in its loss; ``'image'``: all images.
        source_weights: source s -> w_s, a factor on that.

    Raises:
        ValueError: a teacher all of whose sources weigh nothing.
    """

    def __init__(
        self,
        teacher: Teacher,
        further: Mapping[str, BackboneTeacher],
        branches: Mapping[str, str],
        depth: int,
        supervise: str,
        balance: str,
        source_weights: Mapping[str, float],
    ) -> None:
        self.teacher, self.further, self.branches = teacher, further, branches
        self.depth, self.supervise = depth, supervise
        self.balance, self.source_weights = balance, source_weights
        for name in (*branches.values(), *further):
            if not any(source_weights[source] for source in self._taught_by(name)):
                raise ValueError(
                    f"FitNetDistiller: source_weights are 0 for every source that '{name}' teaches, "
                    f'{self._taught_by(name)}; to leave out a teacher, give it weight 0'
                )

    def image_weights(self, teacher: str, images: Mapping[str, int]) -> dict[str, float]:
        """Return the weight of one image in a teacher's loss of a step, by source; over all images they add up to 1.

        Args:
            teacher: a branch or further teacher.
            images: source -> its number of images in the step.
        """
        by_source = self.balance == 'source'
        weights = {
            source: self.source_weights[source] / (images[source] if by_source else 1)
            for source in self._taught_by(teacher)
            if images.get(source)
        }
        total = sum(weight * images[source] for source, weight in weights.items())
        return {source: weight / total if total else 0.0 for source, weight in weights.items()}

    def _taught_by(self, teacher: str) -> list[str]:
        everything = teacher in self.further or self.supervise == 'all'
        return [source for source, branch in self.branches.items() if everything or branch == teacher]

    def give(self, images: Tensor, owners: Sequence[str]) -> dict[str, Lesson]:
        """Return the lessons of a batch, by teacher; a branch that teaches none of its images gives none.

        Args:
            images: ``(B, 3, H, W)``.
            owners: the source of every image.
        """
        if self.supervise == 'all':
            shown = self.teacher.features(images, depth=self.depth)
            lessons = {branch: Lesson(dict(enumerate(levels)), owners, None) for branch, levels in shown.items()}
        else:
            lessons = self._own(images, owners)
        for name, teacher in self.further.items():
            lessons[name] = Lesson(teacher.features(images), owners, None)
        return lessons

    def _own(self, images: Tensor, owners: Sequence[str]) -> dict[str, Lesson]:
        lessons = {}
        for branch in dict.fromkeys(self.branches.values()):
            mine = [row for row, source in enumerate(owners) if self.branches[source] == branch]
            if mine:
                rows = torch.tensor(mine, device=images.device)
                levels = self.teacher.features(images[rows], [branch], self.depth)[branch]
                lessons[branch] = Lesson(dict(enumerate(levels)), [owners[row] for row in mine], rows)
        return lessons
