"""The frozen single-source models that X-Learner++'s hints come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.models.data_preprocessor import source_order
from xlearner_mm.models.distillation import BackboneTeacher, FrozenModel
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.inner_widths import narrow_as
from xlearner_mm.plain_data import plain
from xlearner_mm.transfer.checkpoint import State


class HintTeacher(BackboneTeacher):
    """A model trained on one source, whose features T_i are targets for the branch of that source's task.

    Args:
        source: the source it was trained on and teaches.
        model: config of an :class:`~xlearner_mm.models.expansion.ExpansionLearner` that serves the source's task, or
            of any registered backbone (with its ``_scope_``).
        checkpoint: its checkpoint; for a backbone also one of a stock network that holds it.
        data_preprocessor: for a backbone, config of the stock data preprocessor that it was trained with. Defaults to
            None: its checkpoint says how its images were normalised.
        channel_order: for that data preprocessor, the order in which its training images were loaded. Defaults to
            None: as the source's images are loaded.

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
        channel_order: str | None = None,
    ) -> None:
        self.source = source
        super().__init__(
            model,
            checkpoint,
            f"hint teacher of source '{source.name}'",
            data_preprocessor,
            channel_order=channel_order or source_order(source),
        )

    @property
    def expanded(self) -> XLearnerExpandedBackbone | None:
        """The expanded backbone of a learner; None where the model is a backbone itself."""
        backbone = getattr(self.module, 'backbone', None)
        return backbone if isinstance(backbone, XLearnerExpandedBackbone) else None

    def _load(self, state: State) -> None:
        if self.expanded is None:
            super()._load(state)
        else:
            narrow_as(self.expanded, {'meta': self.meta})
            FrozenModel._load(self, state)

    def _channels(self) -> dict[int, int]:
        if self.expanded is None:
            return super()._channels()
        if self.source.task not in self.expanded.tasks:
            raise SourceError(
                f"source '{self.source.name}': its hint teacher serves {sorted(self.expanded.tasks)}, "
                f"expected task '{self.source.task}'"
            )
        return dict(enumerate(self.expanded.channels_of(self.source.task)))

    def _normalisation(self, data_preprocessor: Mapping[str, Any] | None, channel_order: str) -> list:
        if self.expanded is not None:
            return plain(self.module.normalisation)
        return super()._normalisation(data_preprocessor, channel_order)

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return T_i ``(B, C_i, H_i, W_i)`` by level for the source's images ``(B, 3, H, W)``."""
        if self.expanded is not None:
            return dict(enumerate(self.expanded.forward_task(x, self.source.task)))
        return super().features(x)
