"""The frozen single-source models that X-Learner++'s hints come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.models.data_preprocessor import normalisation_of
from xlearner_mm.models.distillation import FrozenModel
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.plain_data import plain
from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import State, load_backbone


class HintTeacher(FrozenModel):
    """A model trained on one source, whose features T_i are targets for the branch of that source's task.

    Args:
        source: the source it was trained on and teaches.
        model: config of an :class:`~xlearner_mm.models.expansion.ExpansionLearner` that serves the source's task, or
            of any registered backbone (with its ``_scope_``).
        checkpoint: its checkpoint; for a backbone also one of a stock network that holds it.
        data_preprocessor: for a backbone, config of the stock data preprocessor that it was trained with. Defaults to
            None: its checkpoint says how its images were normalised.

    Attributes:
        channels: level -> channels of T_i.
        normalisation: how its images were normalised, see
            :func:`~xlearner_mm.models.data_preprocessor.normalisation_of`.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        SourceError: a learner that does not serve the task, or a backbone of unknown input normalisation.
    """

    def __init__(
        self,
        source: Source,
        model: Mapping[str, Any],
        checkpoint: str,
        data_preprocessor: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        super().__init__(model, checkpoint, what=f"hint teacher of source '{source.name}'")
        if self.expanded is not None and source.task not in self.expanded.tasks:
            raise SourceError(
                f"source '{source.name}': its hint teacher serves {sorted(self.expanded.tasks)}, "
                f"expected task '{source.task}'"
            )
        self.normalisation = self._normalisation(data_preprocessor)
        self.channels = {level: f.shape[1] for level, f in self.features(torch.zeros(1, 3, 64, 64)).items()}

    @property
    def expanded(self) -> XLearnerExpandedBackbone | None:
        """The expanded backbone of a learner; None where the model is a backbone itself."""
        backbone = getattr(self.module, 'backbone', None)
        return backbone if isinstance(backbone, XLearnerExpandedBackbone) else None

    def _load(self, state: State, what: str) -> None:
        if self.expanded is not None:
            super()._load(state, what)
        else:
            load_backbone(self.module, self.checkpoint)

    def _normalisation(self, data_preprocessor: Mapping[str, Any] | None) -> list:
        if self.expanded is not None:
            return plain(self.module.normalisation)
        if data_preprocessor is not None:
            return plain(normalisation_of(MODELS.build(dict(data_preprocessor))))
        # A stage's checkpoint keeps it under StageMetaHook's key, an export at the top.
        stated = self.meta.get('xlearner', self.meta).get('normalisation')
        if stated is None:
            raise SourceError(
                f"source '{self.source.name}': {self.checkpoint} does not say how the images of its hint teacher were "
                'normalised; give the data_preprocessor that the teacher was trained with'
            )
        return plain(stated)

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return T_i ``(B, C_i, H_i, W_i)`` by level for the source's images ``(B, 3, H, W)``."""
        if self.expanded is not None:
            return dict(enumerate(self.expanded.forward_task(x, self.source.task)))
        out = self.module(x)
        levels = getattr(self.module, 'out_indices', None) or range(len(out))
        return dict(zip(levels, out, strict=True))
