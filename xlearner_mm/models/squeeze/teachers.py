"""The teachers of the squeeze stage: the frozen expansion stage, and further backbones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn

from xlearner_mm.checkpoint import BRANCHES, STUDENT, State, below, load_strictly, recorded, recorded_normalization
from xlearner_mm.errors import CheckpointError, ConfigError, refuse_unknown
from xlearner_mm.models.distillation.teachers import BackboneTeacher, FrozenModel, check_levels, check_weight
from xlearner_mm.models.expansion.expanded_backbone import Levels
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.normalization import Normalization


class Teacher(FrozenModel):
    """An expansion stage's learner, frozen.

    Args:
        model: config of the :class:`ExpansionLearner` of the expansion stage.
        checkpoint: that stage's checkpoint.
        fold_norms: fold the branches' and links' BN into the convolutions before them: the same features for less
            work. Defaults to True.
        autocast: ``'bfloat16'`` or ``'float16'``, the precision to run in. Defaults to None: the training's.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, of another stage, of other sources or branches, or was
            trained on images that were normalized differently.
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

    def whole_modules(self) -> list[nn.Module]:
        """Return the modules of branches and links that are called whole."""
        return self.learner.backbone.whole_modules()

    def _load(self, state: State) -> None:
        if not isinstance(self.module, ExpansionLearner):
            raise CheckpointError(f'the teacher must be an ExpansionLearner, got {type(self.module).__name__}')
        self._check_stage(state)
        self._check_names(state)
        narrow_as(self.module.backbone, {'meta': self.meta})  # pruning keeps the levels, which are compared
        super()._load(state)
        normalization = recorded_normalization(self.meta)
        if normalization is not None:
            fix, what = 'give the sources of the expansion stage', f'teacher {self.checkpoint}'
            normalization.check(self.module.normalization, what, 'its sources here have', fix, CheckpointError)

    def _check_stage(self, state: State) -> None:
        stage = recorded(self.meta).get('stage')
        if stage is None and any(key.startswith(STUDENT) for key in state):
            stage = 'squeeze'
        if stage not in (None, 'expansion', 'pruning'):
            raise CheckpointError(
                f'teacher {self.checkpoint} is of the {stage} stage, expected the expansion stage: give a checkpoint '
                'of that training'
            )
        if not any(key.startswith(BRANCHES) for key in state):
            raise CheckpointError(
                f'teacher {self.checkpoint} holds no branches: it is a plain backbone or another network; give the '
                'checkpoint of the expansion stage'
            )

    def _check_names(self, state: State) -> None:
        """Name the source or branch that differs, instead of hundreds of keys."""
        own = self.learner.state_dict()
        for what, prefix in (('source', 'networks.'), ('branch', BRANCHES)):
            known, wanted = _names_in(state, prefix), _names_in(own, prefix)
            if known != wanted:
                raise CheckpointError(
                    f"teacher {self.checkpoint} knows {what} {sorted(known)}, but the teacher's model has "
                    f"{sorted(wanted)}: give the model of that checkpoint's own expansion stage"
                )

    @torch.no_grad()
    def _fold_norms(self) -> None:
        """Fold, and compare: a norm that is not applied right after its convolution would change the features."""
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
        """Return F by branch and level for images ``(B, 3, H, W)``.

        Args:
            x: the images.
            branches: the branches wanted. Defaults to None: all.
            depth: number of levels wanted, from the first; no others are run. Defaults to None: all.
        """
        with self.precision(x):
            features = self.learner.backbone.forward_branches(x, branches, depth)
        return {name: self.in_precision_of(x, levels) for name, levels in features.items()}


def _names_in(state: Mapping[str, Any], prefix: str) -> set[str]:
    return {key.split('.')[0] for key in below(state, prefix)}


class Shown(NamedTuple):
    """A teacher's features of the images of a batch that it teaches.

    Args:
        features: level i -> F_i^t ``(R, C_i, H_i, W_i)``.
        owners: the source of each of the R images.
        rows: the R rows of the batch, or None for all.
    """

    features: Mapping[int, Tensor]
    owners: Sequence[str]
    rows: Tensor | None = None

    def of(self, student: Tensor) -> Tensor:
        """Return the student's features ``(B, C, H, W)`` of these rows."""
        return student if self.rows is None else student[self.rows]


class Target(NamedTuple):
    """The part of the loss that one teacher t, a branch or a further one, has.

    Args:
        channels: level i -> channels of F_i^t, for the levels that are distilled.
        weight: w^t.
    """

    channels: Mapping[int, int]
    weight: float


def branch_targets(
    teacher: Teacher, levels: Sequence[int], weights: Mapping[str, float] | None, owner: str
) -> dict[str, Target]:
    """Return the targets of all branches, by branch.

    Raises:
        ConfigError: a level that a branch does not have, or a weight that is negative or of no branch.
    """
    branches = teacher.learner.backbone.branches
    given = fill_weights(f'{owner}: branch_weights', weights, list(branches))
    check_levels(owner, levels, {name: branch.output_levels for name, branch in branches.items()})
    return {name: Target({i: branch.channels[i] for i in levels}, given[name]) for name, branch in branches.items()}


def build_further_teachers(
    further: Mapping[str, Mapping[str, Any]],
    levels: Sequence[int],
    branches: Sequence[str],
    normalization: Normalization,
    owner: str,
) -> tuple[dict[str, BackboneTeacher], dict[str, Target]]:
    """Build the teachers that are not branches, and their targets.

    Args:
        further: name -> settings of a :class:`~xlearner_mm.models.distillation.teachers.BackboneTeacher`, and
            ``weight`` and ``levels`` of its target.
        levels: the levels of teachers that do not set their own; foundation backbones teach those they have.
        branches: names that are taken.
        normalization: input normalization of the sources.
        owner: whose setting it is, for messages.

    Raises:
        ConfigError: a teacher of another input normalization, a name that is taken or no identifier, an unknown
            setting, a level it does not have, a weight below 0.
        CheckpointError: its checkpoint is missing, damaged, or not of its model.
    """
    required = ('model', 'checkpoint')
    known = (*required, 'data_preprocessor', 'channel_order', 'autocast', 'weight', 'levels')
    teachers, targets = {}, {}
    for name, given in further.items():
        what = f"{owner}: further teacher '{name}'"
        if name in branches:
            raise ConfigError(f'{what} has the name of a branch; give it another')
        if not name.isidentifier():
            raise ConfigError(f'{what}: the name must be an identifier')
        refuse_unknown(what, given, known)
        missing = [key for key in required if key not in given]
        if missing:
            raise ConfigError(f'{what} lacks {missing}')
        settings = {'weight': 1.0, 'levels': None, **given}
        weight, own_levels = check_weight(f'{what}: weight', settings.pop('weight')), settings.pop('levels')
        teachers[name] = BackboneTeacher(**settings, what=f"further teacher '{name}'")
        teachers[name].check_normalization(normalization)
        own_levels = teachers[name].levels_by_default(levels) if own_levels is None else own_levels
        own = check_levels(what, own_levels, {name: teachers[name].channels})
        targets[name] = Target({i: teachers[name].channels[i] for i in own}, weight)
    return teachers, targets


def fill_weights(setting: str, weights: Mapping | None, known: Sequence) -> dict:
    """Return a weight for each of the known names, 1 where none is given.

    Raises:
        ConfigError: a weight of an unknown name, or one that is negative or no number.
    """
    given = dict(weights or {})
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(f'{setting} name unknown {unknown}; known: {list(known)}')
    return {key: check_weight(f'{setting}[{key!r}]', given.get(key, 1.0)) for key in known}
