"""The frozen teacher of the squeeze stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor

from xlearner_mm.models.data_preprocessor import stated_normalisation
from xlearner_mm.models.distillation import FrozenModel
from xlearner_mm.models.expansion.expansion_learner import ExpansionLearner
from xlearner_mm.models.expansion.inner_widths import narrow_as
from xlearner_mm.plain_data import plain
from xlearner_mm.transfer.checkpoint import CheckpointError, State, load_strictly

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
            trained on images that were normalised in another way.
        ValueError: an unknown precision, or norms that cannot be folded.
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
        stated, own = stated_normalisation(self.meta), plain(self.module.normalisation)
        if stated not in (None, own):
            raise CheckpointError(
                f'teacher {self.checkpoint} was trained with input normalisation (mean, std, channels) {stated}, but '
                f'its sources have {own} here; give the sources of the expansion stage'
            )

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
                    raise ValueError(
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
    stage = meta.get('xlearner', meta).get('stage')
    if stage is None and any(key.startswith('student.') for key in state):
        stage = 'squeeze'
    if stage not in (None, *_STAGES):
        raise CheckpointError(
            f'teacher {path} is of the {stage} stage, expected the expansion stage: give what its training has saved'
        )
    if not any(key.startswith('backbone.branches.') for key in state):
        raise CheckpointError(
            f'teacher {path} holds no branches: it is a plain backbone or another network; give the checkpoint that '
            'the expansion stage has saved'
        )


def _check_names(path: str, state: State, learner: ExpansionLearner) -> None:
    """Say which source or branch differs, before hundreds of keys do."""
    own = learner.state_dict()
    for what, prefix in (('source', 'networks.'), ('branch', 'backbone.branches.')):
        known, wanted = _names_in(state, prefix), _names_in(own, prefix)
        if known != wanted:
            raise CheckpointError(
                f"teacher {path} knows {what} {sorted(known)}, but the teacher's model has {sorted(wanted)}: give the "
                "model of that checkpoint's own expansion stage"
            )


def _names_in(state: Mapping[str, Any], prefix: str) -> set[str]:
    return {key[len(prefix) :].split('.')[0] for key in state if key.startswith(prefix)}
