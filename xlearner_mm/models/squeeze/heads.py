"""The expansion stage's frozen heads on the student of a squeeze: fidelity, and terms of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.models.distillation.comparison import Compared
from xlearner_mm.models.distillation.teachers import by_level, check_weight
from xlearner_mm.models.expansion.stock_network import losses_of, port_of
from xlearner_mm.models.squeeze.teachers import Shown, Target, Teacher


class HeadTerm(NamedTuple):
    """The loss through frozen heads.

    Args:
        loss: ``'labels'`` or ``'outputs'``.
        weight: of the term of every source.
        sources: that have the term.
    """

    loss: str
    weight: float
    sources: tuple[str, ...]


def check_head_term(
    owner: str, heads: Mapping[str, Any] | None, mixes: bool, task_of: Mapping[str, str]
) -> HeadTerm | None:
    """Return the setting of a loss through heads.

    Args:
        owner: whose setting it is, for messages.
        heads: ``dict(loss=..., weight=1.0, tasks=None)``, or None for no such loss.
        mixes: whether images are mixed.
        task_of: source -> task.

    Raises:
        ConfigError: an unknown setting, loss or task, a negative weight, or labels of images that are mixed.
    """
    if heads is None:
        return None
    if not isinstance(heads, Mapping) or heads.get('loss') not in ('labels', 'outputs'):
        raise ConfigError(f"{owner}: heads must be dict(loss='labels') or dict(loss='outputs'), got {heads!r}")
    refuse_unknown(f'{owner}: heads', heads, ('loss', 'weight', 'tasks'))
    if mixes and heads['loss'] == 'labels':
        raise ConfigError(
            f"{owner}: mix leaves no labels for heads=dict(loss='labels'): use loss='outputs', or mix=None"
        )
    weight = check_weight(f'{owner}: heads.weight', heads.get('weight', 1.0))
    known, tasks = tuple(dict.fromkeys(task_of.values())), heads.get('tasks')
    if tasks is not None and (isinstance(tasks, str) or not tasks or not set(tasks) <= set(known)):
        raise ConfigError(f'{owner}: heads.tasks must be some of {known}, the tasks of the sources, got {tasks!r}')
    return HeadTerm(heads['loss'], weight, tuple(name for name, task in task_of.items() if task in (tasks or known)))


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
    head_term: HeadTerm | None = None
    _heads_read_branches = False

    def check_heads_read_distilled_levels(self) -> None:
        """Refuse heads of which a level would be read from the teacher, so that they would not read the student alone.

        Raises:
            ConfigError: names the first such source and its levels.
        """
        assert self.head_term is not None
        learner = self.teacher.learner
        for name in self.head_term.sources:
            branch = learner.backbone.branch_of(learner.sources[name].task)
            port, distilled = port_of(learner.networks[name]), self.targets[branch]
            missing = [i for i in port.out_indices if i not in distilled.channels] if port else []
            if missing:
                raise ConfigError(
                    f"FitNetDistiller: heads of source '{name}' read levels {missing}, which are not among the levels "
                    f'{list(distilled.channels)} that are distilled: add them to levels, or set heads=None'
                )

    def check_heads_outputs_correspond(self) -> None:
        """Refuse to compare outputs of heads that choose proposals or queries by the features they read.

        Of student and branch they choose other ones, in another order: output k is not of the same place in both, also
        where shapes agree.

        Raises:
            ConfigError: names the first such source, what chooses, and the alternatives.
        """
        assert self.head_term is not None
        if self.head_term.loss != 'outputs':
            return
        learner = self.teacher.learner
        for name in self.head_term.sources:
            if chooses := _what_chooses(learner.networks[name]):
                task = learner.sources[name].task
                others = [learner.sources[other].task for other in self.head_term.sources]
                rest = [other for other in dict.fromkeys(others) if other != task]
                without = f', or leave its task out by tasks={rest}' if rest else ', or heads=None'
                raise ConfigError(
                    f"FitNetDistiller: heads=dict(loss='outputs') compares outputs place by place, but source '{name}' "
                    f"has {chooses}, which student and branch give other ones: use loss='labels'{without}"
                )

    def head_losses(
        self,
        inputs: Mapping[str, Tensor],
        data_samples: Mapping[str, list],
        branch_of: Mapping[str, str],
        taught: Sequence[Mapping[str, Shown]],
        compared: Mapping[tuple[str, int], Mapping[int, Compared]],
    ) -> dict[str, Tensor]:
        """Return ``<source>.heads_loss``: what a source's frozen heads make of G^t(Fhat) of its own images.

        With ``'labels'`` it is the source's own loss, ``loss_weight`` included; with ``'outputs'`` the mean over the
        heads' output tensors of the mean squared difference to those of F^t (SimKD, CVPR 2022; CrossKD, CVPR 2024).
        Heads are in eval mode and take no gradients, but pass them on to student and guidance layers.

        Args:
            inputs: source -> images ``(B, 3, H, W)``.
            data_samples: source -> data samples.
            branch_of: source -> branch.
            taught: of every batch, what teachers show of it.
            compared: (teacher, level) -> number of the batch -> its comparison.

        Raises:
            ConfigError: heads whose outputs cannot be compared.
        """
        assert self.head_term is not None
        kind, weight, sources = self.head_term
        losses = {}
        for name, images in inputs.items():
            if name not in sources:
                continue
            branch = branch_of[name]
            batch = next(i for i, shown in enumerate(taught) if branch in shown and name in shown[branch].owners)
            shown = taught[batch][branch]
            first = shown.owners.index(name)
            rows = slice(first, first + len(images))  # a source's images are next to each other
            guided = {i: compared[branch, i][batch].guided[rows] for i in self.targets[branch].channels}
            student = {i: self._in_teachers_scale(branch, i, own) for i, own in guided.items()}
            if kind == 'labels':
                own = self._run_heads(name, images, student, data_samples)
                loss, _ = self.parse_losses(losses_of(self.teacher.learner.sources[name], own))
            else:
                teacher = {i: shown.features[i][rows] for i in student}
                with torch.no_grad():
                    wanted = self._run_heads(name, images, teacher, data_samples, 'tensor')
                found = self._run_heads(name, images, student, data_samples, 'tensor')
                loss = _distance(name, _tensors(found), _tensors(wanted))
            losses[f'{name}.heads_loss'] = weight * loss
        return losses

    def _run_heads(
        self, name: str, images: Tensor, levels: Any, data_samples: Mapping[str, list], mode: str = 'loss'
    ) -> Any:
        network = self.teacher.learner.networks[name]
        port = port_of(network)
        assert port is not None
        with port.serving(images, levels), self.teacher.precision(images):
            return network(images, data_samples.get(name), mode=mode)

    def _standardizer(self, teacher: str, level: int) -> Any:
        return self.standardizers[f'{teacher}_{level}'] if self.standardizers else None

    def guided(self, teacher: str, level: int, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Return G_i^t(Fhat_i) of a spatial size, in the teacher's own scale."""
        return self._in_teachers_scale(teacher, level, self.guidance[f'{teacher}_{level}'](feature, size))

    def _in_teachers_scale(self, teacher: str, level: int, guided: Tensor) -> Tensor:
        standardize = self._standardizer(teacher, level)
        return guided if standardize is None else standardize.inverse(guided)

    def predict(self, inputs: Mapping[str, Tensor], data_samples: Mapping[str, list] | None) -> list:
        """Predict with the expansion stage's frozen heads on the student: the squeeze's fidelity."""
        learner = self.teacher.learner
        for name in inputs:
            port = port_of(learner.networks[name])
            assert port is not None
            # Bound again: copies of this model (EMA) share the heads.
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
            sizes = {i: backbone.branches[branch].size(i, x.shape[-2], x.shape[-1]) for i in distilled}
            out.update({i: self.guided(branch, i, student[i], sizes[i]) for i in distilled})
        if missing:
            own = self.teacher.features(x, [branch], 1 + max(missing))[branch]
            out.update({i: own[i] for i in missing})
        return out


def _what_chooses(network: nn.Module) -> str | None:
    """Return the part whose outputs are of places that the features choose, or None without one."""
    if getattr(network, 'roi_head', None) is not None:
        return 'a roi_head of proposals'
    return 'queries of as_two_stage' if getattr(network, 'as_two_stage', False) else None


def _tensors(outputs: Any) -> list[Tensor]:
    """The tensors in nested outputs of heads, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for own in outputs for tensor in _tensors(own)] if isinstance(outputs, list | tuple) else []


def _distance(source: str, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    shapes = [[tuple(tensor.shape) for tensor in outputs] for outputs in (found, wanted)]
    if not found or shapes[0] != shapes[1]:
        raise ConfigError(
            f"FitNetDistiller: heads of source '{source}' return {shapes[0]} of the student and {shapes[1]} of the "
            "branch, which cannot be compared: use heads=dict(loss='labels')"
        )
    pairs = zip(found, wanted, strict=True)
    return torch.stack([(own.float() - target.float()).square().mean() for own, target in pairs]).mean()
