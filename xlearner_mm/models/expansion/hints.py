"""X-Learner++'s hints: frozen single-source models teach the branch of their task during expansion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from xlearner_mm.checkpoint import State
from xlearner_mm.errors import ConfigError, refuse_unknown
from xlearner_mm.models.data_preprocessor import source_order
from xlearner_mm.models.distillation.comparison import (
    GUIDANCE,
    LOSS,
    STANDARDIZE,
    build_part,
    build_parts,
    compare,
)
from xlearner_mm.models.distillation.teachers import BackboneTeacher, FrozenModel, check_levels, check_weight
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.links import narrow_as
from xlearner_mm.normalization import Normalization
from xlearner_mm.sources import Source

_TEACHER = ('model', 'checkpoint', 'data_preprocessor', 'channel_order')
_SETTINGS = (*_TEACHER, 'weight', 'levels', 'standardize', 'loss', 'guidance')


class Hint(BaseModule):
    r"""One source's hint: a frozen model trained on that source alone teaches the branch t of its task.

        L = w sum over levels i of || T_i(x) - G_i(F_i^t(x)) ||^2        x: the source's own images

    Args:
        source: the source.
        teacher: its frozen model T; in no checkpoint, no optimizer and no DDP bucket.
        channels: the branch's channels at every level.
        weight: w. Defaults to 1.
        levels: the levels i. Defaults to (0, 1, 2, 3).
        standardize: transform of the targets, or None for FitNet's plain ones. Defaults to
            ``dict(type='ChannelStandardize')``, so that the weight means the same for every teacher.
        loss: the distance. Defaults to ``dict(type='FitNetLoss')``.
        guidance: the layers G_i. Defaults to ``dict(type='GuidanceLayer')``.

    Raises:
        ConfigError: a negative weight, or a level that teacher or branch does not have.
    """

    def __init__(
        self,
        source: Source,
        teacher: HintTeacher,
        channels: Sequence[int],
        weight: float = 1.0,
        levels: Sequence[int] = (0, 1, 2, 3),
        standardize: Mapping[str, Any] | None = STANDARDIZE,
        loss: Mapping[str, Any] = LOSS,
        guidance: Mapping[str, Any] = GUIDANCE,
    ) -> None:
        super().__init__()
        owner = f"source '{source.name}': its hint"
        self.teacher, self.weight = teacher, check_weight(f'{owner}: weight', weight)
        self.levels = check_levels(owner, levels, {'branch': range(len(channels)), 'hint teacher': teacher.channels})
        self.distance = build_part(owner, 'loss', loss)
        widths = {str(i): (channels[i], teacher.channels[i]) for i in self.levels}
        own = {key: {'in_channels': student, 'out_channels': taught} for key, (student, taught) in widths.items()}
        self.guidance = build_parts(owner, 'guidance', guidance, own)
        self.standardizers = ModuleDict()
        if standardize is not None:
            targets = {key: {'channels': taught} for key, (_, taught) in widths.items()}
            self.standardizers = build_parts(owner, 'standardize', standardize, targets)

    def _apply(self, fn: Any, recurse: bool = True) -> Hint:
        self.teacher.apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return ``hint_loss_<level>`` for every level.

        Args:
            images: the source's images ``(B, 3, H, W)``.
            features: F^t of them, one ``(B, C_i, H_i, W_i)`` per level.
        """
        targets = self.teacher.features(images)
        return {f'hint_loss_{i}': self.weight * self._compare(i, targets[i], features[i]) for i in self.levels}

    def _compare(self, level: int, target: Tensor, feature: Tensor) -> Tensor:
        standardize: Any = self.standardizers[str(level)] if self.standardizers else None
        if standardize is not None and self.training:
            standardize.update(target)
        compared = compare([target], [feature], self.guidance[str(level)], self.distance, standardize)
        return compared[0].distances.mean()


def build_hints(
    hints: Mapping[str, Any],
    sources: Mapping[str, Source],
    backbone: XLearnerExpandedBackbone,
    normalization: Normalization,
) -> ModuleDict:
    """Build the hints of some sources.

    Args:
        hints: source name -> ``dict(model=..., checkpoint=...)`` of a :class:`HintTeacher` and settings of
            :class:`Hint`.
        sources: all sources, by name.
        backbone: the expanded backbone whose branches learn.
        normalization: input normalization of the sources.

    Raises:
        ConfigError: an unknown source or setting, a teacher of another input normalization, or a setting that
            :class:`Hint` refuses.
        CheckpointError: a teacher's checkpoint is missing, damaged, or not of its model.
    """
    unknown = [name for name in hints if name not in sources]
    if unknown:
        raise ConfigError(f'hints name unknown source(s) {unknown}; the sources are {list(sources)}')
    built = {}
    for name, given in hints.items():
        refuse_unknown(f"source '{name}': its hint", given, _SETTINGS)
        missing = [key for key in ('model', 'checkpoint') if key not in given]
        if missing:
            raise ConfigError(f"source '{name}': its hint lacks {missing}")
        source, settings = sources[name], dict(given)
        teacher = HintTeacher(source, **{key: settings.pop(key) for key in _TEACHER if key in settings})
        teacher.check_normalization(normalization)
        settings.setdefault('levels', teacher.levels_by_default((0, 1, 2, 3)))
        built[name] = Hint(source, teacher, backbone.channels_of(source.task), **settings)
    return ModuleDict(built)


class HintTeacher(BackboneTeacher):
    """A model trained on one source, whose features T_i are targets for the branch of that source's task.

    Args:
        source: the source it was trained on and teaches.
        model: config of an :class:`~xlearner_mm.models.expansion.ExpansionLearner` that serves the source's task, or
            of any registered backbone (with its ``_scope_``).
        checkpoint: its checkpoint; for a backbone also one of a stock network that holds it.
        data_preprocessor: for a backbone, config of the stock data preprocessor that it was trained with. Defaults to
            None: its checkpoint records how its images were normalized.
        channel_order: for that data preprocessor, the order in which its training images were loaded. Defaults to
            None: as the source's images are loaded.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or not of this model.
        ConfigError: a learner that does not serve the task or is given a data preprocessor, or a backbone of unknown
            input normalization.
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
        what = f"hint teacher of source '{source.name}'"
        super().__init__(model, checkpoint, what, data_preprocessor, channel_order=channel_order)

    @property
    def expanded(self) -> XLearnerExpandedBackbone | None:
        """The expanded backbone of a learner; None where the model is a backbone itself."""
        backbone = getattr(self.module, 'backbone', None)
        return backbone if isinstance(backbone, XLearnerExpandedBackbone) else None

    def whole_modules(self) -> list[nn.Module]:
        """Return the backbone; of a learner the modules of branches and links that are called whole."""
        return super().whole_modules() if self.expanded is None else self.expanded.whole_modules()

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
            raise ConfigError(
                f"source '{self.source.name}': its hint teacher serves {sorted(self.expanded.tasks)}, "
                f"expected task '{self.source.task}'"
            )
        return dict(enumerate(self.expanded.channels_of(self.source.task)))

    def _order_by_default(self) -> str:
        return source_order(self.source)

    def _normalization(self, data_preprocessor: Mapping[str, Any] | None, channel_order: str) -> Normalization:
        if self.expanded is not None:
            if data_preprocessor is not None:
                raise ConfigError(f'{self.what}: an ExpansionLearner has its own data_preprocessor; leave it out')
            learner: Any = self.module
            return learner.normalization
        return super()._normalization(data_preprocessor, channel_order)

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """Return T_i ``(B, C_i, H_i, W_i)`` by level for the source's images ``(B, 3, H, W)``."""
        if self.expanded is not None:
            return dict(enumerate(self.expanded.forward_task(x, self.source.task)))
        return super().features(x)
