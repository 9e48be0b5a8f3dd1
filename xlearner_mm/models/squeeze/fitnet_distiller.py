"""The squeeze stage: all branches distilled into one plain backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor

from xlearner_mm.checkpoint import BRANCHES, load_backbone
from xlearner_mm.config.plain_data import plain
from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.models.data_preprocessor import MultiSourceDataPreprocessor
from xlearner_mm.models.distillation import (
    REDUCTIONS,
    STANDARDIZE,
    ChannelStandardizer,
    Guidance,
    by_level,
    fitnet_distances,
    probe_channels,
)
from xlearner_mm.models.expansion.stock_network import port_of
from xlearner_mm.models.norms import any_batch_statistics, apply_norm_eval
from xlearner_mm.models.ragged import joint_groups, parts_of, ragged, ragged_forwards
from xlearner_mm.models.squeeze.student import build_student, check_all_trains, load_student
from xlearner_mm.models.squeeze.teachers import (
    BALANCE,
    SUPERVISE,
    Lesson,
    Lessons,
    Teacher,
    branch_targets,
    build_further_teachers,
    check_levels,
    check_weights,
    pick_levels,
)
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import MODELS
from xlearner_mm.sources import parse_sources


@MODELS.register_module()
class FitNetDistiller(BaseModel):
    r"""Distil the frozen branches F^t into one student by hints.

        L = sum over teachers t, levels i of w^t w_i || F_i^t - G_i^t(Fhat_i) ||^2

    The distance of a teacher is the mean over the sources s that it teaches, weighted by w_s, of the mean over each
    source's own images: how many images of a source are in a step, and how large they are, does not matter. Labels
    are not used; the images of all sources are. A student with BN or SyncBN sees all of them as one batch, of whatever
    sizes.

    Args:
        teacher: ``dict(model=<config of the ExpansionLearner>, checkpoint=<its checkpoint>)`` and settings of
            :class:`~xlearner_mm.models.squeeze.teachers.Teacher` (``autocast``, ``fold_norms``).
        student: config of the student: an :class:`~xlearner_mm.models.backbones.XLearnerResNet`, or any registered
            backbone, with its ``_scope_``, that gives out the levels. It starts from scratch, or from the checkpoint
            of its ``init_cfg=dict(type='Pretrained', checkpoint=...)``. It ends at the last level that is distilled.
        start_from: the branch whose weights the student starts from; it must have the student's architecture.
            Defaults to None: the student's own ``init_cfg``.
        levels: the levels i that are distilled. Defaults to (0, 1, 2, 3).
        supervise: ``'all'``: every branch teaches every image; ``'own'``: a branch teaches its own sources' images.
            Defaults to ``'all'``.
        standardize: ``'none'``: the slides' plain formula; ``'channel'``: running mean and standard deviation of each
            channel of the teacher, so that branches of different scale weigh the same. Defaults to ``'channel'``.
        guidance_norm: whether guidance layers have a BN. Defaults to False.
        balance: ``'source'``: as above; ``'image'``: a source counts w_s times its number of images in the step, so
            with w_s = 1 all images count the same. Defaults to ``'source'``.
        source_weights: source s -> w_s. A source's ``loss_weight`` plays no part: it balances the expansion's losses on
            labels, which are of other scales. Defaults to None: 1 for all.
        reduction: ``'mean'`` per element, or ``'sum'`` over an image. Defaults to ``'mean'``.
        branch_weights: branch -> w^t. Defaults to None: 1 for all.
        level_weights: level -> w_i. Defaults to None: 1 for all.
        further_teachers: X-Learner++'s: name -> ``dict(model=<config of any registered backbone>, checkpoint=...,
            data_preprocessor=None, channel_order='bgr', autocast=None, weight=1.0, levels=<those above>)``; they teach
            every image, see :class:`~xlearner_mm.models.distillation.BackboneTeacher`. Defaults to None.
        init_cfg: mmengine's weight initialisation. Defaults to None.

    Raises:
        CheckpointError: a teacher's or the student's checkpoint that is missing, not of its model, or of a student
            whose input normalization is not that of the sources.
        ConfigError: a further teacher whose input normalization is not that of the sources, an unknown choice, level,
            branch, source or weight, a teacher whose sources all weigh 0, or a student that does not return feature
            maps or has stages or norms that no distilled level trains.
    """

    def __init__(
        self,
        teacher: Mapping[str, Any],
        student: Mapping[str, Any],
        start_from: str | None = None,
        levels: Sequence[int] = (0, 1, 2, 3),
        supervise: str = 'all',
        standardize: str = 'channel',
        guidance_norm: bool = False,
        balance: str = 'source',
        source_weights: Mapping[str, float] | None = None,
        reduction: str = 'mean',
        branch_weights: Mapping[str, float] | None = None,
        level_weights: Mapping[int, float] | None = None,
        further_teachers: Mapping[str, Mapping[str, Any]] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        _check_choice('supervise', supervise, SUPERVISE)
        _check_choice('standardize', standardize, STANDARDIZE)
        _check_choice('balance', balance, BALANCE)
        _check_choice('reduction', reduction, REDUCTIONS)
        self.levels, self.reduction = check_levels(levels), reduction
        refuse_unknown('FitNetDistiller: teacher', teacher, settings_of(Teacher))
        self.teacher = Teacher(**teacher)
        learner = self.teacher.learner
        backbone, normalization = learner.backbone, learner.normalization
        self.sources = parse_sources(learner.sources)
        self.branch_channels = {n: b.channels for n, b in backbone.branches.items()}
        self.targets = branch_targets(backbone, self.levels, branch_weights)
        further, targets = build_further_teachers(
            further_teachers or {}, self.levels, tuple(backbone.branches), normalization
        )
        self.further_teachers = further
        self.targets.update(targets)
        compared = sorted({level for target in self.targets.values() for level in target.channels})
        self.level_weights = check_weights('level', level_weights, compared)
        branch_of = {name: backbone.branch_of(source.task) for name, source in self.sources.items()}
        weights = check_weights('source', source_weights, list(self.sources))
        depth = 1 + max(self.levels)
        self.lessons = Lessons(self.teacher, further, branch_of, depth, supervise, balance, weights)

        if start_from is not None:
            _check_choice('start_from', start_from, tuple(self.branch_channels))
        self.start_from, self._student_cfg = start_from, plain(student)
        self.student, self._student_start = build_student(student, start_from, normalization)
        student_channels = pick_levels('student', compared, probe_channels(self.student, 'student'))
        check_all_trains(self.student, compared)
        channels = {name: target.channels for name, target in self.targets.items()}
        self.guidance = Guidance(student_channels, channels, guidance_norm)
        self.standardizers = _standardizers(channels) if standardize == 'channel' else None
        # The teacher's own preprocessors: student and teacher see the same normalized images by construction.
        self.data_preprocessor = MultiSourceDataPreprocessor(
            {name: net.data_preprocessor for name, net in learner.networks.items()}
        )
        self._heads_read_branches = False

    def init_weights(self) -> None:
        """Initialise student and guidance layers; the student from a branch or a checkpoint if asked.

        Raises:
            CheckpointError: the branch or checkpoint is of another architecture than the student.
        """
        super().init_weights()
        if self.start_from is not None:
            prefix = f'{BRANCHES}{self.start_from}.backbone'
            load_backbone(self.student, self.teacher.checkpoint, prefix)
        if self._student_start is not None:
            load_student(self.student, self._student_start)

    def train(self, mode: bool = True) -> FitNetDistiller:
        """Set training mode, frozen parts excepted, and return the module as torch's do."""
        super().train(mode)
        if mode:
            apply_norm_eval(self)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> FitNetDistiller:
        for teacher in (self.teacher, *self.further_teachers.values()):
            teacher.apply(fn)
        return super()._apply(fn, recurse)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: Mapping[str, list] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Compare the student with its teachers, or predict with the branches' heads on the student.

        Args:
            inputs: source -> images ``(B, 3, H, W)``.
            data_samples: source -> data samples; only ``'predict'`` uses them. Defaults to None.
            mode: ``'loss'``, ``'predict'`` (one source) or ``'tensor'`` (the student's features by source).

        Raises:
            ValueError: an unknown mode, or several sources in ``'predict'``.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return {name: self.student(images) for name, images in inputs.items()}
        raise ValueError(f"unknown mode '{mode}': choose loss, predict or tensor")

    def loss(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss_<teacher>_<level>`` for every teacher and level."""
        counts = {name: len(images) for name, images in inputs.items()}
        passes = self._passes(inputs)
        losses: dict[str, Tensor] = {}
        # A fixed order, whatever sizes this rank's images have: standardizers talk to the other ranks.
        for name, target in self.targets.items():
            shown = [(student, lessons[name]) for student, lessons in passes if name in lessons]
            of_source = self.lessons.image_weights(name, counts)
            weights = [lesson.image_weights(of_source) for _, lesson in shown]
            for level in target.channels:
                targets = [lesson.features[level] for _, lesson in shown]
                features = [lesson.seen_by(student[level]) for student, lesson in shown]
                self._update(name, level, targets)
                total = next(iter(inputs.values())).new_zeros(())
                for weight, distances in zip(weights, self._compare(name, level, targets, features), strict=True):
                    total = total + (weight * distances).sum()
                losses[f'loss_{name}_{level}'] = total
        return losses

    def _passes(self, inputs: Mapping[str, Tensor]) -> list[tuple[dict[int, Tensor], dict[str, Lesson]]]:
        """Student and teachers on all images, one size after another."""
        groups = joint_groups(inputs)
        batches = [torch.cat([inputs[name] for name in group]) for group in groups]
        owners = [[name for name in group for _ in range(len(inputs[name]))] for group in groups]
        lessons = [self.lessons.give(images, own) for images, own in zip(batches, owners, strict=True)]
        return list(zip(self._student_levels(batches), lessons, strict=True))

    def _student_levels(self, batches: Sequence[Tensor]) -> list[dict[int, Tensor]]:
        """The student's features of every batch: one pass for all where its norms see the batch."""
        shared = [ragged(batches)] if any_batch_statistics(self.student) else batches
        found: list[dict[int, Tensor]] = []
        for images in shared:
            with ragged_forwards(self.student, images, what='student'):
                levels = by_level(self.student, self.student(images))
            parts = zip(*map(parts_of, levels.values()), strict=True)
            found += [dict(zip(levels, own, strict=True)) for own in parts]
        return found

    def _update(self, teacher: str, level: int, targets: Sequence[Tensor]) -> None:
        if self.standardizers is not None and self.training:
            self.standardizers[f'{teacher}_{level}'].update(*targets)

    def _compare(self, teacher: str, level: int, targets: Sequence[Tensor], features: Sequence[Tensor]) -> list[Tensor]:
        """Weighted distance of every image, ``(B,)``, of every batch that the teacher shows."""
        if not targets:
            return []
        if self.standardizers is not None:
            targets = [self.standardizers[f'{teacher}_{level}'](target) for target in targets]
        sizes = ragged([(target.shape[-2], target.shape[-1]) for target in targets])
        shared = ragged(features)
        # Together: guidance layers may have a norm that sees the batch, and talks to other ranks.
        with ragged_forwards(self.guidance, shared):
            guided = parts_of(self.guidance(shared, teacher, level, sizes))
        weight = self.targets[teacher].weight * self.level_weights[level]
        return [weight * fitnet_distances(*pair, self.reduction) for pair in zip(targets, guided, strict=True)]

    def predict(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list] | None) -> list:
        """Predict with the expansion stage's frozen heads on the student: the squeeze's fidelity."""
        learner = self.teacher.learner
        for name in inputs:
            port = port_of(learner.networks[name])
            assert port is not None
            # Bound anew: copies of this model (EMA) share the heads.
            port.bind(learner.backbone if self._heads_read_branches else StudentFeatures(self, port.out_indices))
        return learner(inputs, data_samples, mode='predict')

    @contextmanager
    def heads_on_branches(self) -> Iterator[None]:
        """Let ``predict`` read the branches themselves for the while: what the student is measured against."""
        self._heads_read_branches = True
        try:
            yield
        finally:
            self._heads_read_branches = False

    def forward_task(self, x: Tensor, task: str) -> dict[int, Tensor]:
        """G^t(Fhat) of one task in the branch's own scale: what the branch's heads read in place of F^t.

        Args:
            x: images ``(B, 3, H, W)``.
            task: the task t.

        Returns:
            ``(B, C_i^t, H_i, W_i)`` by level; levels that are not distilled are the teacher's own.
        """
        return StudentFeatures(self).forward_task(x, task)

    def describe(self) -> dict[str, Any]:
        """Return stage, student, teachers, sources and input normalization as plain data."""
        return {
            **self.teacher.learner.describe(),
            'stage': 'squeeze',
            'backbone': self._student_cfg,
            'teacher': self.teacher.described(),
            'further_teachers': {name: teacher.described() for name, teacher in self.further_teachers.items()},
        }

    def check_resumed(self, described: Mapping[str, Any]) -> None:
        """Go on with the teachers that a training began with, also where the config names another file by now.

        Args:
            described: :meth:`describe` of the checkpoint that is resumed.

        Raises:
            CheckpointError: a teacher's file has changed or is missing.
        """
        self.teacher.hold_to(described['teacher'])
        for name, recorded in described.get('further_teachers', {}).items():
            if name in self.further_teachers:
                self.further_teachers[name].hold_to(recorded)


def _standardizers(channels: Mapping[str, Mapping[int, int]]) -> ModuleDict:
    return ModuleDict(
        {
            f'{teacher}_{level}': ChannelStandardizer(width)
            for teacher, levels in channels.items()
            for level, width in levels.items()
        }
    )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"FitNetDistiller: unknown {name} '{value}', choose from {choices}")


if TYPE_CHECKING:
    from xlearner_mm.models.squeeze.fitnet_distiller import FitNetDistiller


class StudentFeatures:
    """G^t(Fhat) in place of F^t, for a :class:`~xlearner_mm.models.expansion.stock_network.TaskPort`.

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
