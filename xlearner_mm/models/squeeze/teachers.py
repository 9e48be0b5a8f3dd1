"""The frozen teacher of the squeeze stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor

from xlearner_mm.checkpoint import BRANCHES, STUDENT, State, below, load_strictly, recorded, recorded_normalization
from xlearner_mm.errors import CheckpointError, ConfigError, refuse_unknown
from xlearner_mm.models.distillation import BackboneTeacher, FrozenModel
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.expansion.inner_widths import narrow_as
from xlearner_mm.normalization import Normalization

Levels = tuple[Tensor, ...]
# Of pruning too: an expansion stage's learner that was narrowed.
_STAGES = ('expansion', 'pruning')


class Teacher(FrozenModel):
    """An expansion stage's learner, frozen.

    Args:
        model: config of the :class:`ExpansionLearner` of the expansion stage.
        checkpoint: that stage's checkpoint.
        fold_norms: fold the branches' and links' BN into the convolutions before them: the same features for less
            work. Defaults to True.
        autocast: ``'bfloat16'`` or ``'float16'``: run in that precision. Defaults to None: in the training's own.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, of another stage, of other sources or branches, or was
            trained on images that were normalized in another way.
        ConfigError: an unknown precision, or norms that cannot be folded.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        checkpoint: str,
        fold_norms: bool = True,
        autocast: str | None = None,
    ) -> None:
        super().__init__(model, checkpoint, autocast=autocast)
        self._model_cfg, self._folded = model, fold_norms
        if fold_norms:
            self._fold_norms()

    @property
    def learner(self) -> ExpansionLearner:
        """The expansion stage's model."""
        assert isinstance(self.module, ExpansionLearner)
        return self.module

    def _load(self, state: State) -> None:
        if not isinstance(self.module, ExpansionLearner):
            raise CheckpointError(f'the teacher must be an ExpansionLearner, got {type(self.module).__name__}')
        _check_stage(self.checkpoint, self.meta, state)
        _check_names(self.checkpoint, state, self.module)
        narrow_as(self.module.backbone, {'meta': self.meta})  # pruned or not, its levels are those that are compared
        super()._load(state)
        normalization = recorded_normalization(self.meta)
        if normalization is not None:
            fix, what = 'give the sources of the expansion stage', f'teacher {self.checkpoint}'
            normalization.check(self.module.normalization, what, 'its sources here have', fix, CheckpointError)

    @torch.no_grad()
    def _fold_norms(self) -> None:
        """Fold, and check: a norm that stands behind its convolution in the config only would change the features."""
        size = max(branch.probe_size for branch in self.learner.backbone.branches.values())
        image = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
        # In full precision, whatever the teacher runs in.
        wanted = self.learner.backbone.forward_branches(image)
        fuse_conv_bn(self.learner.backbone)
        self.freeze()  # folding makes new parameters
        for branch, levels in self.learner.backbone.forward_branches(image).items():
            for level, (found, plainly) in enumerate(zip(levels, wanted[branch], strict=True)):
                if (found - plainly).abs().max() > 1e-4 * plainly.abs().max().clamp_min(1):
                    raise ConfigError(
                        f"teacher: folding norms into convolutions changes level {level} of branch '{branch}'; set "
                        'fold_norms=False'
                    )

    def _reread(self, path: str) -> None:
        # In place, whatever was folded: copies share the module.
        other = Teacher(self._model_cfg, path, self._folded, self.autocast)
        load_strictly(self.module, other.module.state_dict(), f'{self.what} {path}')
        self.checkpoint, self.sha256, self.meta = other.checkpoint, other.sha256, other.meta

    @torch.no_grad()
    def features(
        self, x: Tensor, branches: Collection[str] | None = None, depth: int | None = None
    ) -> dict[str, Levels]:
        """F by branch and level for images ``(B, 3, H, W)``.

        Args:
            x: the images.
            branches: the branches wanted. Defaults to None: all.
            depth: levels wanted, from the first; no others are run. Defaults to None: all.
        """
        with self.precision(x):
            features = self.learner.backbone.forward_branches(x, branches, depth)
        return {name: self.in_precision_of(x, levels) for name, levels in features.items()}


def _check_stage(path: str, meta: Mapping[str, Any], state: State) -> None:
    stage = recorded(meta).get('stage')
    if stage is None and any(key.startswith(STUDENT) for key in state):
        stage = 'squeeze'
    if stage not in (None, *_STAGES):
        raise CheckpointError(
            f'teacher {path} is of the {stage} stage, expected the expansion stage: give what its training has saved'
        )
    if not any(key.startswith(BRANCHES) for key in state):
        raise CheckpointError(
            f'teacher {path} holds no branches: it is a plain backbone or another network; give the checkpoint that '
            'the expansion stage has saved'
        )


def _check_names(path: str, state: State, learner: ExpansionLearner) -> None:
    """Say which source or branch differs, before hundreds of keys do."""
    own = learner.state_dict()
    for what, prefix in (('source', 'networks.'), ('branch', BRANCHES)):
        known, wanted = _names_in(state, prefix), _names_in(own, prefix)
        if known != wanted:
            raise CheckpointError(
                f"teacher {path} knows {what} {sorted(known)}, but the teacher's model has {sorted(wanted)}: give the "
                "model of that checkpoint's own expansion stage"
            )


def _names_in(state: Mapping[str, Any], prefix: str) -> set[str]:
    return {key.split('.')[0] for key in below(state, prefix)}


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
        ConfigError: a teacher all of whose sources weigh nothing.
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
                raise ConfigError(
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


@dataclass(frozen=True)
class Target:
    """What one teacher t, a branch or a further one, shows the student.

    Args:
        name: the teacher's name; its losses are ``loss_<name>_<level>``.
        channels: level i -> channels of F_i^t, for the levels that are distilled.
        weight: w^t.
    """

    name: str
    channels: Mapping[int, int]
    weight: float = 1.0


def branch_targets(
    backbone: XLearnerExpandedBackbone, levels: Sequence[int], weights: Mapping[str, float] | None
) -> dict[str, Target]:
    """Return the targets of all branches, by branch.

    Raises:
        ConfigError: a level that a branch does not have, or a weight that is negative or of no branch.
    """
    given = check_weights('branch', weights, list(backbone.branches))
    targets = {}
    for name, branch in backbone.branches.items():
        available = {i: branch.channels[i] for i in branch.output_levels}
        targets[name] = Target(name, pick_levels(name, levels, available), given[name])
    return targets


def build_further_teachers(
    further: Mapping[str, Mapping[str, Any]],
    levels: Sequence[int],
    branches: Sequence[str],
    normalization: Normalization,
) -> tuple[dict[str, BackboneTeacher], dict[str, Target]]:
    """Build the teachers that are no branches, and their targets.

    Args:
        further: name -> ``dict(model=..., checkpoint=..., data_preprocessor=None, autocast=None)`` of a
            :class:`~xlearner_mm.models.distillation.BackboneTeacher`, and ``weight`` and ``levels`` of its target.
        levels: the levels distilled where a teacher names none.
        branches: names that are taken.
        normalization: how the sources' images are normalized.

    Raises:
        ConfigError: a teacher whose input normalization differs or is not known, a name that is taken or no identifier,
            an unknown setting, a level it does not have, a weight below 0.
        CheckpointError: its checkpoint is missing, damaged, or not of its model.
    """
    teachers, targets = {}, {}
    for name, settings in further.items():
        _check_name(name, branches)
        _check_settings(name, settings)
        settings = dict(settings)
        weight, own_levels = settings.pop('weight', 1.0), settings.pop('levels', levels)
        teachers[name] = BackboneTeacher(**settings, what=f"further teacher '{name}'")
        teachers[name].check_normalization(normalization)
        if not _is_weight(weight):
            raise ConfigError(
                f"FitNetDistiller: weight of further teacher '{name}' must be a number and not negative, got {weight!r}"
            )
        check_levels(own_levels)
        targets[name] = Target(name, pick_levels(name, own_levels, teachers[name].channels), weight)
    return teachers, targets


def _check_name(name: str, branches: Sequence[str]) -> None:
    if name in branches:
        raise ConfigError(f"FitNetDistiller: further teacher '{name}' has the name of a branch; give it another")
    if not name.isidentifier():
        raise ConfigError(f"FitNetDistiller: the name of further teacher '{name}' must be an identifier")


def _check_settings(name: str, settings: Mapping[str, Any]) -> None:
    known = ('model', 'checkpoint', 'data_preprocessor', 'channel_order', 'autocast', 'weight', 'levels')
    missing = [k for k in known[:2] if k not in settings]
    refuse_unknown(f"FitNetDistiller: further teacher '{name}'", settings, known)
    if missing:
        raise ConfigError(f"FitNetDistiller: further teacher '{name}' lacks {missing}")


def pick_levels(name: str, levels: Sequence[int], channels: Mapping[int, int]) -> dict[int, int]:
    """Return the channels of the levels that are distilled.

    Raises:
        ConfigError: a level that ``name`` does not give out.
    """
    beyond = [i for i in levels if i not in channels]
    if beyond:
        raise ConfigError(f"FitNetDistiller: levels {beyond} are beyond '{name}', which gives out {list(channels)}")
    return {i: channels[i] for i in levels}


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """Return levels as they were given.

    Raises:
        ConfigError: none, one twice, or no whole numbers.
    """
    if not isinstance(levels, Sequence) or any(type(level) is not int for level in levels):
        raise ConfigError(f'FitNetDistiller: levels must be a tuple of whole numbers, as (0, 1, 2, 3), got {levels!r}')
    if not levels or len(set(levels)) != len(levels):
        raise ConfigError(f'FitNetDistiller: levels must name every level once, and one at least, got {levels}')
    return tuple(levels)


def check_weights(kind: str, weights: Mapping | None, known: Sequence) -> dict:
    """Return a weight for all that is known, 1 where none is given.

    Raises:
        ConfigError: a weight of something unknown, or one that is negative or no number.
    """
    given = dict(weights or {})
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(f'FitNetDistiller: {kind}_weights name unknown {unknown}; known: {list(known)}')
    wrong = {key: value for key, value in given.items() if not _is_weight(value)}
    if wrong:
        raise ConfigError(f'FitNetDistiller: {kind}_weights must be numbers and not negative, got {wrong}')
    return {key: given.get(key, 1.0) for key in known}


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < inf
