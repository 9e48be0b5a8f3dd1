"""The squeeze stage: all branches distilled into one plain backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor

from xlearner_mm.datasets.source import parse_sources
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.data_preprocessor import MultiSourceDataPreprocessor
from xlearner_mm.models.distillation import REDUCTIONS, STANDARDIZE, ChannelStandardizer, Guidance, fitnet_loss
from xlearner_mm.models.expansion.task_port import port_of
from xlearner_mm.models.joint_batches import joint_groups
from xlearner_mm.models.squeeze.teacher import Levels, Teacher
from xlearner_mm.plain_data import plain
from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import load_backbone

SUPERVISE = ('all', 'own')


@MODELS.register_module()
class FitNetDistiller(BaseModel):
    r"""Distil the frozen branches F^t into one student by hints.

        L = sum over branches t, levels i of w^t w_i || F_i^t - G_i^t(Fhat_i) ||^2

    Labels are not used; the images of all sources are. Sources whose images have one size run as one batch.

    Args:
        teacher: ``dict(model=<config of the ExpansionLearner>, checkpoint=<its checkpoint>)``.
        student: config of the student, an :class:`~xlearner_mm.models.backbones.XLearnerResNet`.
        start_from: the branch whose weights the student starts from; it must have the student's architecture.
            Defaults to None: the student's own ``init_cfg``.
        levels: the levels i that are distilled. Defaults to (0, 1, 2, 3).
        supervise: ``'all'``: every branch teaches every image; ``'own'``: a branch teaches its own sources' images.
            Defaults to ``'all'``.
        standardize: ``'none'``: the slides' plain formula; ``'channel'``: running mean and standard deviation of each
            channel of the teacher, so that branches of different scale weigh the same. Defaults to ``'channel'``.
        guidance_norm: whether guidance layers have a BN. Defaults to False.
        reduction: ``'mean'`` per element or ``'sum'``. Defaults to ``'mean'``.
        branch_weights: branch -> w^t. Defaults to None: 1 for all.
        level_weights: level -> w_i. Defaults to None: 1 for all.
        init_cfg: mmengine's weight initialisation. Defaults to None.

    Raises:
        CheckpointError: a teacher checkpoint that is missing or not of the teacher's model.
        ValueError: an unknown choice, level or branch.
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
        reduction: str = 'mean',
        branch_weights: Mapping[str, float] | None = None,
        level_weights: Mapping[int, float] | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        _check_choice('supervise', supervise, SUPERVISE)
        _check_choice('standardize', standardize, STANDARDIZE)
        _check_choice('reduction', reduction, REDUCTIONS)
        self.teacher = Teacher(**teacher)
        learner = self.teacher.learner
        self.sources = parse_sources(learner.sources)
        self.levels, self.supervise, self.reduction = tuple(levels), supervise, reduction
        self.branch_channels = {n: b.channels for n, b in learner.backbone.branches.items()}
        self.branch_weights = _check_weights('branch', branch_weights, list(self.branch_channels))
        self.level_weights = _check_weights('level', level_weights, list(self.levels))

        if start_from is not None:
            _check_choice('start_from', start_from, tuple(self.branch_channels))
        self.start_from = start_from
        self.student = MODELS.build(without_library_defaults(student))
        self._student_cfg = plain(student)
        student_channels = _channels_of(self.student)
        _check_levels(self.levels, {'student': student_channels, **self.branch_channels})
        self.guidance = Guidance(student_channels, self.branch_channels, self.levels, guidance_norm)
        self.standardizers = (
            ModuleDict(
                {
                    f'{branch}_{level}': ChannelStandardizer(channels[level])
                    for branch, channels in self.branch_channels.items()
                    for level in self.levels
                }
            )
            if standardize == 'channel'
            else None
        )
        # The teacher's own preprocessors: student and teacher see the same normalised images by construction.
        self.data_preprocessor = MultiSourceDataPreprocessor(
            {name: net.data_preprocessor for name, net in learner.networks.items()}
        )
        self._bind_heads_to_student()

    def init_weights(self) -> None:
        """Initialise student and guidance layers; the student from a branch if asked.

        Raises:
            CheckpointError: the branch is of another architecture than the student.
        """
        super().init_weights()
        if self.start_from is not None:
            prefix = f'backbone.branches.{self.start_from}.backbone'
            load_backbone(self.student, self.teacher.checkpoint, prefix)

    def _bind_heads_to_student(self) -> None:
        """Let the expansion stage's frozen heads read the student, for ``predict``: the squeeze's fidelity."""
        for network in self.teacher.learner.networks.values():
            port = port_of(network)
            assert port is not None
            port.bind(self)

    def _apply(self, fn: Any, recurse: bool = True) -> FitNetDistiller:
        self.teacher.apply(fn)
        return super()._apply(fn, recurse)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: Mapping[str, list] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Compare the student with the branches, or predict with the branches' heads on the student.

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
            return self.teacher.learner(inputs, data_samples, mode='predict')
        if mode == 'tensor':
            return {name: self.student(images) for name, images in inputs.items()}
        raise ValueError(f"unknown mode '{mode}': choose loss, predict or tensor")

    def loss(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss_<branch>_<level>`` for every branch and level, averaged over all images of the step."""
        images_in_step = sum(len(images) for images in inputs.values())
        passes = [self._run(group, inputs) for group in joint_groups(inputs, self.student)]
        losses: dict[str, Tensor] = {}
        # A fixed order, whatever sizes this rank's images have: standardizers talk to the other ranks.
        for branch in self.branch_channels:
            for level in self.levels:
                targets = [teacher[branch][level][rows[branch]] for _, teacher, rows in passes]
                self._update(branch, level, targets)
                total = next(iter(inputs.values())).new_zeros(())
                for (student, _, rows), target in zip(passes, targets, strict=True):
                    if len(target):
                        loss = self._compare(branch, level, target, student[level][rows[branch]])
                        total = total + loss * (len(target) / images_in_step)
                losses[f'loss_{branch}_{level}'] = total
        return losses

    def _run(
        self, group: Sequence[str], inputs: Mapping[str, Tensor]
    ) -> tuple[Levels, dict[str, Levels], dict[str, Tensor]]:
        """Student and teacher on the images of one size, and the rows that each branch teaches."""
        images = torch.cat([inputs[name] for name in group])
        rows = {branch: self._rows(branch, group, inputs).to(images.device) for branch in self.branch_channels}
        return self.student(images), self.teacher.features(images), rows

    def _update(self, branch: str, level: int, targets: Sequence[Tensor]) -> None:
        if self.standardizers is not None and self.training:
            self.standardizers[f'{branch}_{level}'].update(*targets)

    def _compare(self, branch: str, level: int, target: Tensor, feature: Tensor) -> Tensor:
        if self.standardizers is not None:
            target = self.standardizers[f'{branch}_{level}'](target)
        size = (target.shape[-2], target.shape[-1])
        guided = self.guidance(feature, branch, level, size)
        weight = self.branch_weights[branch] * self.level_weights[level]
        return weight * fitnet_loss(target, guided, self.reduction)

    def _rows(self, branch: str, group: Sequence[str], inputs: Mapping[str, Tensor]) -> Tensor:
        """Rows of the joint batch that a branch teaches."""
        backbone = self.teacher.learner.backbone
        taught = [
            torch.full(
                (len(inputs[name]),),
                self.supervise == 'all' or backbone.branch_of(self.sources[name].task) == branch,
            )
            for name in group
        ]
        return torch.cat(taught).nonzero().flatten()

    def forward_task(self, x: Tensor, task: str) -> Levels:
        """G^t(Fhat) of one task in the branch's own scale: what the branch's heads read in place of F^t.

        Args:
            x: images ``(B, 3, H, W)``.
            task: the task t.

        Returns:
            One ``(B, C_i^t, H_i, W_i)`` per level; levels that are not distilled are the teacher's own.
        """
        backbone = self.teacher.learner.backbone
        branch = backbone.branch_of(task)
        student = self.student(x)
        missing = set(range(len(self.branch_channels[branch]))) - set(self.levels)
        teacher = backbone.forward_task(x, task) if missing else None
        out = []
        for level in range(len(self.branch_channels[branch])):
            if teacher is not None and level in missing:
                out.append(teacher[level])
                continue
            feature = student[level]
            size = (feature.shape[-2], feature.shape[-1])
            guided = self.guidance(feature, branch, level, size)
            if self.standardizers is not None:
                guided = self.standardizers[f'{branch}_{level}'].inverse(guided)
            out.append(guided)
        return tuple(out)

    def describe(self) -> dict[str, Any]:
        """Return stage, student, teacher, sources and input normalisation as plain data."""
        return {
            **self.teacher.learner.describe(),
            'stage': 'squeeze',
            'backbone': self._student_cfg,
            'teacher': {'checkpoint': self.teacher.checkpoint, 'sha256': self.teacher.sha256},
        }


@torch.no_grad()
def _channels_of(student: torch.nn.Module) -> tuple[int, ...]:
    training = student.training
    student.eval()
    channels = tuple(level.shape[1] for level in student(torch.zeros(1, 3, 64, 64)))
    student.train(training)
    return channels


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"FitNetDistiller: unknown {name} '{value}', choose from {choices}")


def _check_levels(levels: Sequence[int], channels: Mapping[str, Sequence[int]]) -> None:
    for name, widths in channels.items():
        beyond = [i for i in levels if not 0 <= i < len(widths)]
        if beyond:
            raise ValueError(
                f"FitNetDistiller: levels {beyond} are beyond '{name}', which has levels 0 to {len(widths) - 1}"
            )


def _check_weights(kind: str, weights: Mapping | None, known: Sequence) -> dict:
    unknown = [key for key in weights or {} if key not in known]
    if unknown:
        raise ValueError(f'FitNetDistiller: {kind}_weights name unknown {unknown}; known: {list(known)}')
    return {key: (weights or {}).get(key, 1.0) for key in known}
