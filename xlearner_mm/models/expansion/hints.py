"""X-Learner++'s hints: frozen single-source models teach the branch of their task during expansion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from xlearner_mm.datasets.errors import refuse_unknown
from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.models.distillation import STANDARDIZE, ChannelStandardizer, GuidanceLayer, fitnet_loss
from xlearner_mm.models.expansion.expanded_backbone import XLearnerExpandedBackbone
from xlearner_mm.models.expansion.hint_teacher import HintTeacher

_TEACHER = ('model', 'checkpoint', 'data_preprocessor', 'channel_order')
_SETTINGS = (*_TEACHER, 'weight', 'levels', 'standardize')


class Hint(BaseModule):
    r"""One source's hint: a frozen model trained on that source alone teaches the branch t of its task.

        L = w sum over levels i of || T_i(x) - G_i(F_i^t(x)) ||^2        x: the source's own images

    Args:
        source: the source.
        teacher: its frozen model T; in no checkpoint, no optimizer and no DDP bucket.
        channels: the branch's channels at every level.
        weight: w. Defaults to 1.
        levels: the levels i. Defaults to (0, 1, 2, 3).
        standardize: ``'none'``: FitNet's plain targets; ``'channel'``: running mean and standard deviation of each of
            the teacher's channels, so that the weight means the same for every teacher. Defaults to ``'channel'``.

    Raises:
        SourceError: a negative weight, an unknown choice, or a level that teacher or branch does not have.
    """

    def __init__(
        self,
        source: Source,
        teacher: HintTeacher,
        channels: Sequence[int],
        weight: float = 1.0,
        levels: Sequence[int] = (0, 1, 2, 3),
        standardize: str = 'channel',
    ) -> None:
        super().__init__()
        if weight < 0:
            raise SourceError(f"source '{source.name}': weight of its hint must not be negative, got {weight}")
        if standardize not in STANDARDIZE:
            raise SourceError(
                f"source '{source.name}': unknown standardize '{standardize}' of its hint, choose from {STANDARDIZE}"
            )
        _check_levels(source, 'branch', levels, range(len(channels)))
        _check_levels(source, 'hint teacher', levels, teacher.channels)
        self.teacher, self.weight, self.levels = teacher, weight, tuple(levels)
        self.guidance = ModuleDict({str(i): GuidanceLayer(channels[i], teacher.channels[i]) for i in self.levels})
        standardized = self.levels if standardize == 'channel' else ()
        self.standardizers = ModuleDict({str(i): ChannelStandardizer(teacher.channels[i]) for i in standardized})

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
        if str(level) in self.standardizers:
            standardizer = self.standardizers[str(level)]
            if self.training:
                standardizer.update(target)
            target = standardizer(target)
        guided = self.guidance[str(level)](feature, (target.shape[-2], target.shape[-1]))
        return fitnet_loss(target, guided)


def build_hints(
    hints: Mapping[str, Any],
    sources: Mapping[str, Source],
    backbone: XLearnerExpandedBackbone,
    normalisation: tuple,
) -> ModuleDict:
    """Build the hints of some sources.

    Args:
        hints: source name -> ``dict(model=..., checkpoint=...)`` of a
            :class:`~xlearner_mm.models.expansion.hint_teacher.HintTeacher` and settings of :class:`Hint`.
        sources: all sources, by name.
        backbone: the expanded backbone whose branches learn.
        normalisation: how the sources' images are normalised.

    Raises:
        SourceError: an unknown source or setting, a teacher whose input normalisation differs, or what
            :class:`Hint` refuses.
        CheckpointError: a teacher's checkpoint is missing, damaged, or not of its model.
    """
    unknown = [name for name in hints if name not in sources]
    if unknown:
        raise SourceError(f'hints name unknown source(s) {unknown}; the sources are {list(sources)}')
    return ModuleDict(
        {name: _build_hint(sources[name], dict(given), backbone, normalisation) for name, given in hints.items()}
    )


def _build_hint(
    source: Source, given: dict[str, Any], backbone: XLearnerExpandedBackbone, normalisation: tuple
) -> Hint:
    _check_settings(source, given)
    own = {key: given.pop(key) for key in _TEACHER if key in given}
    teacher = HintTeacher(source, **own)
    teacher.check_normalisation(normalisation)
    return Hint(source, teacher, backbone.channels_of(source.task), **given)


def _check_settings(source: Source, given: Mapping[str, Any]) -> None:
    refuse_unknown(f"source '{source.name}': its hint", given, _SETTINGS)
    missing = [key for key in ('model', 'checkpoint') if key not in given]
    if missing:
        raise SourceError(f"source '{source.name}': its hint lacks {missing}")


def _check_levels(source: Source, what: str, levels: Sequence[int], available: Any) -> None:
    beyond = [i for i in levels if i not in available]
    if beyond:
        raise SourceError(
            f"source '{source.name}': levels {beyond} of its hint are beyond its {what}, which has {list(available)}"
        )
