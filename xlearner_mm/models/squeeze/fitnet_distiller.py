"""The squeeze stage: all branches distilled into one plain backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import ModuleDict
from torch import Tensor

from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.models.compilation import compile_in_place
from xlearner_mm.models.data_preprocessor import MultiSourceDataPreprocessor, pass_contiguous_where_misread
from xlearner_mm.models.distillation.comparison import (
    GUIDANCE,
    LOSS,
    STANDARDIZE,
    Compared,
    build_part,
    build_parts,
    compare,
)
from xlearner_mm.models.distillation.teachers import by_level, check_levels, probe_channels
from xlearner_mm.models.norms import (
    any_batch_statistics,
    apply_norm_eval,
    joint_groups,
    parts_of,
    ragged,
    ragged_forwards,
)
from xlearner_mm.models.squeeze.heads import StudentOfHeads, check_head_term
from xlearner_mm.models.squeeze.regularization import (
    build_mix,
    check_probability,
    check_teachers_to_drop,
    keep_teachers,
    mixed,
)
from xlearner_mm.models.squeeze.student import (
    AVERAGE,
    build_student,
    check_all_trains,
    load_student,
    start_from_branches,
)
from xlearner_mm.models.squeeze.teachers import Shown, Teacher, branch_targets, build_further_teachers, fill_weights
from xlearner_mm.nearest_name import settings_of
from xlearner_mm.registry import MODELS, plain
from xlearner_mm.sources import parse_sources

_OWNER = 'FitNetDistiller'


@MODELS.register_module()
class FitNetDistiller(StudentOfHeads):
    r"""Distill the frozen branches F^t into one student by hints.

        L = sum over teachers t, levels i of w^t w_i || F_i^t - G_i^t(Fhat_i) ||^2

    The distance of a teacher is the mean over the sources s that it teaches, weighted by w_s, of the mean over each
    source's own images: how many images of a source are in a step, and how large they are, does not matter. Labels
    are not used; the images of all sources are. A student with BN or SyncBN sees all of them as one batch, of whatever
    sizes.

    Args:
        teacher: ``dict(model=<config of the ExpansionLearner>, checkpoint=<its checkpoint>)`` and settings of
            :class:`~xlearner_mm.models.squeeze.teachers.Teacher` (``autocast``, ``fold_norms``).
        student: config of the student: an :class:`~xlearner_mm.models.backbones.XLearnerResNet`, or any registered
            backbone, with its ``_scope_``, that returns the levels. It starts from scratch, or from the checkpoint
            of its ``init_cfg=dict(type='Pretrained', checkpoint=...)``. It ends at the last level that is distilled.
        start_from: the branch whose weights the student starts from, or ``'average'``, the mean of the weights of all
            branches; they must have the student's architecture. Defaults to None: the student's own ``init_cfg``, which
            may name any checkpoint, also of a hard-sharing expansion.
        levels: the levels i that are distilled. Defaults to (0, 1, 2, 3).
        supervise: ``'all'``: every branch teaches every image; ``'own'``: a branch teaches its own sources' images.
            Defaults to ``'all'``.
        loss: the distance, a registered module as :class:`~xlearner_mm.models.distillation.comparison.FitNetLoss`.
            Defaults to ``dict(type='FitNetLoss')``.
        standardize: transform of the targets, a registered
            :class:`~xlearner_mm.models.distillation.comparison.TargetTransform`, or None for the slides' plain formula.
            Defaults to ``dict(type='ChannelStandardize')``: branches of different scale weigh the same.
        guidance: the layers G_i^t, registered modules as
            :class:`~xlearner_mm.models.distillation.comparison.GuidanceLayer`. Defaults to
            ``dict(type='GuidanceLayer')``.
        balance: ``'source'``: as above; ``'image'``: a source counts w_s times its number of images in the step, so
            with w_s = 1 all images count the same. Defaults to ``'source'``.
        source_weights: source s -> w_s, independent of its ``loss_weight``, which balances losses on labels. Defaults
            to None: 1 for all.
        branch_weights: branch -> w^t. Defaults to None: 1 for all.
        level_weights: level -> w_i. Defaults to None: 1 for all.
        further_teachers: X-Learner++'s: name -> ``dict(model=<config of any registered backbone>, checkpoint=...,
            data_preprocessor=None, channel_order='bgr', autocast=None, weight=1.0, levels=<those above>)``; they teach
            every image, see :class:`~xlearner_mm.models.distillation.teachers.BackboneTeacher`; models of timm and
            mmpretrain as :class:`~xlearner_mm.models.distillation.foundation.FoundationBackbone`. Defaults to None.
        memory_format: of images and features, ``'contiguous'`` or ``'channels_last'``: the same up to rounding, and
            often faster; heads that take views of features may refuse it. Defaults to ``'contiguous'``.
        compile: arguments of ``torch.compile``, as ``dict(mode='default', dynamic=None)``, for student and teachers:
            the same up to rounding; heads, and batches of several image sizes, run eagerly. Defaults to None: nothing
            is compiled.
        drop_teachers: per image, the probability with which each teacher but the one of largest loss is left out of a
            training step, see :func:`~xlearner_mm.models.squeeze.regularization.keep_teachers`. Defaults to 0.
        mix: ``dict(type='Mixup', alpha=0.8)`` or ``dict(type='CutMix', alpha=1.0)``: mix the images of every source in
            training steps, see :func:`~xlearner_mm.models.squeeze.regularization.build_mix`. Student and teachers see
            the same mixed images (Beyer et al., CVPR 2022, arXiv 2106.05237). Defaults to None.
        heads: ``dict(loss='labels', weight=1.0)`` or ``dict(loss='outputs', weight=1.0)``: a further term of every
            source, or with ``tasks=('cls',)`` of the sources of some tasks, ``<source>.heads_loss``, through the
            teacher's frozen heads that read G^t(Fhat), see
            :meth:`~xlearner_mm.models.squeeze.heads.StudentOfHeads.head_losses`. Defaults to None.
        init_cfg: mmengine's weight initialization. Defaults to None.

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
        loss: Mapping[str, Any] = LOSS,
        standardize: Mapping[str, Any] | None = STANDARDIZE,
        guidance: Mapping[str, Any] = GUIDANCE,
        balance: str = 'source',
        source_weights: Mapping[str, float] | None = None,
        branch_weights: Mapping[str, float] | None = None,
        level_weights: Mapping[int, float] | None = None,
        further_teachers: Mapping[str, Mapping[str, Any]] | None = None,
        memory_format: str = 'contiguous',
        compile: Mapping[str, Any] | None = None,
        drop_teachers: float = 0.0,
        mix: Mapping[str, Any] | None = None,
        heads: Mapping[str, Any] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        _check_choice('supervise', supervise, ('all', 'own'))
        _check_choice('balance', balance, ('source', 'image'))
        self.supervise, self.balance = supervise, balance
        self.drop_teachers = check_probability(f'{_OWNER}: drop_teachers', drop_teachers)
        self.mix = build_mix(_OWNER, mix)
        self.levels = check_levels(_OWNER, levels, {})
        refuse_unknown(f'{_OWNER}: teacher', teacher, settings_of(Teacher))
        self.teacher = Teacher(**teacher)
        learner = self.teacher.learner
        backbone, normalization = learner.backbone, learner.normalization
        self.sources = parse_sources(learner.sources)
        self.branch_of = {name: backbone.branch_of(source.task) for name, source in self.sources.items()}
        self.targets = branch_targets(self.teacher, self.levels, branch_weights, _OWNER)
        self.further_teachers, targets = build_further_teachers(
            further_teachers or {}, self.levels, tuple(backbone.branches), normalization, _OWNER
        )
        self.targets.update(targets)
        compared = sorted({level for target in self.targets.values() for level in target.channels})
        self.level_weights = fill_weights(f'{_OWNER}: level_weights', level_weights, compared)
        self.source_weights = fill_weights(f'{_OWNER}: source_weights', source_weights, list(self.sources))
        self._check_every_teacher_weighs()
        most = max(sum(source in self._taught_by(name) for name in self.targets) for source in self.sources)
        check_teachers_to_drop(_OWNER, self.drop_teachers, most)
        task_of = {name: source.task for name, source in self.sources.items()}
        self.head_term = check_head_term(_OWNER, heads, mix is not None, task_of)
        if self.head_term is not None:
            self.check_heads_read_distilled_levels()
            self.check_heads_outputs_correspond()

        if start_from is not None:
            _check_choice('start_from', start_from, (*backbone.branches, AVERAGE))
        self.start_from, self._student_cfg = start_from, plain(student)
        self.student, self._student_start = build_student(student, start_from, normalization)
        pass_contiguous_where_misread(self.student)
        widths = probe_channels(self.student, 'student')
        check_levels(_OWNER, compared, {'student': widths})
        check_all_trains(self.student, compared)

        pairs = {(t, i): (widths[i], wide) for t, target in self.targets.items() for i, wide in target.channels.items()}
        ends = {f'{t}_{i}': {'in_channels': own, 'out_channels': wide} for (t, i), (own, wide) in pairs.items()}
        self.guidance = build_parts(_OWNER, 'guidance', guidance, ends)
        self.distance = build_part(_OWNER, 'loss', loss)
        self.standardizers = ModuleDict()
        if standardize is not None:
            channels = {key: {'channels': own['out_channels']} for key, own in ends.items()}
            self.standardizers = build_parts(_OWNER, 'standardize', standardize, channels)
        # The teacher's own preprocessors: student and teacher see the same normalized images by construction.
        self.data_preprocessor = MultiSourceDataPreprocessor(
            {name: net.data_preprocessor for name, net in learner.networks.items()}, memory_format
        )
        teachers = [self.teacher, *self.further_teachers.values()]
        taught = [module for own in teachers for module in own.whole_modules()]
        compile_in_place(_OWNER, [self.student, *taught], compile)

    def _check_every_teacher_weighs(self) -> None:
        for name in self.targets:
            taught = self._taught_by(name)
            if taught and not any(self.source_weights[source] for source in taught):
                raise ConfigError(
                    f"{_OWNER}: source_weights are 0 for every source that '{name}' teaches, {taught}; to leave out a "
                    'teacher, give it weight 0'
                )

    def init_weights(self) -> None:
        """Initialize student and guidance layers; the student from a branch or a checkpoint if asked.

        Raises:
            CheckpointError: the branch or checkpoint is of another architecture than the student.
        """
        super().init_weights()
        if self.start_from is not None:
            branches = list(self.teacher.learner.backbone.branches)
            chosen = [self.start_from] if self.start_from in branches else branches
            start_from_branches(self.student, self.teacher.checkpoint, chosen)
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
            data_samples: source -> data samples, for ``'predict'``, and for the loss through heads. Defaults to None.
            mode: ``'loss'``, ``'predict'`` (one source) or ``'tensor'`` (the student's features by source).

        Raises:
            ValueError: an unknown mode, or several sources in ``'predict'``.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return {name: self.student(images) for name, images in inputs.items()}
        raise ValueError(f"unknown mode '{mode}': choose loss, predict or tensor")

    def loss(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list] | None = None) -> dict[str, Tensor]:
        """Return ``loss_<teacher>_<level>`` for every teacher and level, and ``<source>.heads_loss`` if asked."""
        if self.mix is not None and self.training:
            inputs = mixed(self.mix, inputs)
        groups = joint_groups(inputs)
        batches = [torch.cat([inputs[name] for name in group]) for group in groups]
        owners = [[name for name in group for _ in range(len(inputs[name]))] for group in groups]
        taught = [self.teach(images, own) for images, own in zip(batches, owners, strict=True)]
        students = self._student_levels(batches)
        # A fixed order, whatever sizes this rank's images have: transforms of targets talk to the other ranks.
        compared = {
            (name, level): self._compare(name, level, taught, students)
            for name, target in self.targets.items()
            for level in target.channels
        }
        weight_of = self.teacher_weights()
        dropping = self.drop_teachers and self.training
        kept = self._kept(batches, taught, compared, weight_of) if dropping else {}
        losses, zero = {}, batches[0].new_zeros(())
        for name, target in self.targets.items():
            of_source = self.image_weights(name, {source: len(images) for source, images in inputs.items()})
            shown = {batch: own[name] for batch, own in enumerate(taught) if name in own}
            weights = {batch: zero.new_tensor([of_source[s] for s in own.owners]) for batch, own in shown.items()}
            if dropping:
                weights = {batch: own * kept[name, batch] for batch, own in weights.items()}
            for level in target.channels:
                total = sum((weights[batch] * own.distances).sum() for batch, own in compared[name, level].items())
                losses[f'loss_{name}_{level}'] = zero + weight_of[name] * self.level_weights[level] * total
        if self.head_term is not None:
            losses.update(self.head_losses(inputs, data_samples or {}, self.branch_of, taught, compared))
        return losses

    def _compare(
        self, name: str, level: int, taught: Sequence[Mapping[str, Shown]], students: Sequence[Mapping[int, Tensor]]
    ) -> dict[int, Compared]:
        """The R images of a batch that a teacher teaches, compared, by the number of the batch."""
        pairs = {i: (own[name], students[i][level]) for i, own in enumerate(taught) if name in own}
        targets = [shown.features[level] for shown, _ in pairs.values()]
        features = [shown.of(student) for shown, student in pairs.values()]
        standardize = self._standardizer(name, level)
        if standardize is not None and self.training:
            standardize.update(*targets)
        found = compare(targets, features, self.guidance[f'{name}_{level}'], self.distance, standardize)
        return dict(zip(pairs, found, strict=True))

    def _kept(
        self,
        batches: Sequence[Tensor],
        taught: Sequence[Mapping[str, Shown]],
        compared: Mapping[tuple[str, int], Mapping[int, Compared]],
        weight_of: Mapping[str, float],
    ) -> dict[tuple[str, int], Tensor]:
        """The teachers that are not left out of this step, see :func:`keep_teachers`, by teacher and batch."""
        kept: dict[tuple[str, int], Tensor] = {}
        for batch, shown in enumerate(taught):
            terms = {
                name: [self.level_weights[i] * compared[name, i][batch].distances for i in self.targets[name].channels]
                for name in shown
            }
            losses = [weight_of[name] * torch.stack(own).sum(0) for name, own in terms.items()]
            rows = [own.rows for own in shown.values()]
            found = keep_teachers(losses, rows, len(batches[batch]), self.drop_teachers)
            kept.update(zip(((name, batch) for name in shown), found, strict=True))
        return kept

    def teacher_weights(self) -> dict[str, float]:
        """Return w^t of this step, by teacher; a subclass may vary it from step to step."""
        return {name: target.weight for name, target in self.targets.items()}

    def teach(self, images: Tensor, owners: Sequence[str]) -> dict[str, Shown]:
        """Return what every teacher shows of a batch; a branch that teaches none of its images is left out.

        A branch runs on the images that it teaches only, and no deeper than the levels that are compared.

        Args:
            images: ``(B, 3, H, W)``.
            owners: the source of every image.
        """
        depth, shown = 1 + max(self.levels), {}
        if self.supervise == 'all':
            for branch, levels in self.teacher.features(images, depth=depth).items():
                shown[branch] = Shown(dict(enumerate(levels)), owners)
        else:
            for branch in dict.fromkeys(self.branch_of.values()):
                mine = [row for row, source in enumerate(owners) if self.branch_of[source] == branch]
                if mine:
                    rows = torch.tensor(mine, device=images.device)
                    levels = self.teacher.features(images[rows], [branch], depth)[branch]
                    shown[branch] = Shown(dict(enumerate(levels)), [owners[row] for row in mine], rows)
        for name, teacher in self.further_teachers.items():
            shown[name] = Shown(teacher.features(images), owners)
        return shown

    def image_weights(self, teacher: str, images: Mapping[str, int]) -> dict[str, float]:
        """Return the weight of one image in a teacher's loss of a step, by source; over all images they add up to 1.

        Args:
            teacher: a branch or further teacher.
            images: source -> its number of images in the step.
        """
        weights = {
            source: self.source_weights[source] / (images[source] if self.balance == 'source' else 1)
            for source in self._taught_by(teacher)
            if images.get(source)
        }
        total = sum(weight * images[source] for source, weight in weights.items())
        return {source: weight / total if total else 0.0 for source, weight in weights.items()}

    def _taught_by(self, teacher: str) -> list[str]:
        everything = teacher in self.further_teachers or self.supervise == 'all'
        return [source for source, branch in self.branch_of.items() if everything or branch == teacher]

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
        """Keep the teachers that a resumed training started with, also if the config names other files now.

        Args:
            described: :meth:`describe` of the checkpoint that is resumed.

        Raises:
            CheckpointError: a teacher's file has changed or is missing.
        """
        self.teacher.hold_to(described['teacher'])
        for name, recorded in described.get('further_teachers', {}).items():
            if name in self.further_teachers:
                self.further_teachers[name].hold_to(recorded)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{_OWNER}: unknown {name} '{value}', choose from {choices}")
