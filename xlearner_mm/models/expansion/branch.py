"""A sub-backbone: a stock backbone that runs stage by stage, with links between its stages."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from xlearner_mm.checkpoint import find_backbone_state, load_strictly, read_checkpoint
from xlearner_mm.errors import CheckpointError, ConfigError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.backbones.xlearner_resnet import pretrained_entries
from xlearner_mm.models.expansion.reconciliation import LinkKey
from xlearner_mm.models.norms import Batch, any_batch_statistics, each
from xlearner_mm.models.recomputation import recompute_as_plain
from xlearner_mm.registry import MODELS


class StagesError(ConfigError):
    """A backbone that cannot be run stage by stage; the message says why."""


class Stages(ABC):
    """A built backbone as stem, stages and outputs, whose sequence is the backbone's own forward.

        F_{-1} = stem(x)        E_i = stage(i)(F_{i-1})        the backbone's output i = output(i, E_i)

    Between stages all families pass on ``(B, C, H, W)``: links are added there, to the *stream*. Families that
    normalize their outputs, but not the stream, do so in :meth:`output`.

    A family is a subclass that is registered in ``MODELS``; the type of a branch's stock backbone chooses it. It refers
    to the backbone and owns nothing: it is no module, so that no key is in a checkpoint twice.

    Args:
        backbone: the built backbone.

    Attributes:
        family: the family's name, for messages.
        types: names of the stock classes; classes that derive from them are of the family as well.
        normalizes_outputs: whether output i passes a ``norm{i}`` that the stream does not pass.
        levels: number of stages.
        output_levels: levels that :meth:`output` can return as the stock backbone does.
        probe_size: height and width of the smallest image that every setting of the family takes.

    Raises:
        StagesError: a setting with which it cannot be run stage by stage.
    """

    family: ClassVar[str]
    types: ClassVar[tuple[str, ...]] = ()
    normalizes_outputs: ClassVar[bool] = False

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.levels = self.count()
        self.output_levels: tuple[int, ...] = tuple(range(self.levels))
        self.probe_size = 64

    @classmethod
    def fits(cls, backbone: Any) -> bool:
        """Return whether the backbone is of this family. Defaults to a class named in ``types``, of any library."""
        return any(base.__name__ in cls.types for base in type(backbone).__mro__)

    def count(self) -> int:
        """Return the number of stages. Defaults to the length of the backbone's ``stages``."""
        return len(self.backbone.stages)

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """F_{-1}: image ``(B, 3, H, W)`` to the first stage's ``(B, C, H', W')``."""

    @abstractmethod
    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i, which maps F_{i-1} to E_i, both ``(B, C, H, W)``."""

    @abstractmethod
    def stem_modules(self) -> list[nn.Module]:
        """Return the modules of the stem, which can be frozen."""

    @abstractmethod
    def stage_modules(self, level: int) -> list[nn.Module]:
        """Return the modules of stage_i and of the backbone's output i, which can be frozen."""

    def output(self, level: int, x: Tensor) -> Tensor:
        """Return the backbone's output of a stage's stream, ``(B, C, H, W)`` to the same. Defaults to the stream."""
        return x

    def side(self, pixels: int, stride: int) -> int:
        """Return the height or width of features, given the image's. Defaults to rounding up, as padded steps do."""
        return ceil(pixels / stride)

    def whole_modules(self) -> list[nn.Module]:
        """Return the modules that stages call whole, to be compiled. Defaults to the backbone's ``stages``, if any."""
        return list(getattr(self.backbone, 'stages', ()))

    def may_start_fresh(self) -> tuple[str, ...]:
        """Return modules that a checkpoint may lack because its own model, say a classifier, has fewer outputs."""
        return tuple(f'norm{level}' for level in self.output_levels) if self.normalizes_outputs else ()


def stages_of(backbone: nn.Module) -> Stages:
    """Return the adapter that runs a built backbone stage by stage.

    Args:
        backbone: any stock backbone.

    Raises:
        StagesError: no family fits it, or it cannot be run stage by stage with one of its settings.
    """
    registered = MODELS.module_dict.values()
    families = [kind for kind in registered if isinstance(kind, type) and issubclass(kind, Stages)]
    for family in reversed(families):  # those of users first
        if family.fits(backbone):
            return family(backbone)
    known = ', '.join(family.family for family in families)
    raise StagesError(
        f'{type(backbone).__name__} does not expose its stages in a known way, so no link can be put between them; use '
        f'a backbone of one of these families: {known}; or register your own'
    )


def pretrained_of(backbone: nn.Module) -> Mapping[str, Any] | None:
    """Return the ``Pretrained`` entry of a stock backbone's ``init_cfg``, or None where it starts from scratch."""
    return next(iter(pretrained_entries(getattr(backbone, 'init_cfg', None))), None)


def load_pretrained(backbone: nn.Module, pretrained: Mapping[str, Any], may_start_fresh: Sequence[str] = ()) -> None:
    """Load all of a backbone from a checkpoint.

    Args:
        backbone: the stock backbone.
        pretrained: its ``checkpoint`` and, optionally, the ``prefix`` of the backbone in it.
        may_start_fresh: modules that stay as they were built where the checkpoint lacks them, wholly. Defaults to ().

    Raises:
        CheckpointError: unreadable, or of another architecture; lists the differences.
    """
    path, own = pretrained['checkpoint'], backbone.state_dict()
    state = find_backbone_state(read_checkpoint(path), backbone, path, pretrained.get('prefix'))
    modules = {key.split('.')[0] for key in own}
    # The file may also hold heads, and norms of further outputs.
    state = {key: value for key, value in state.items() if key.split('.')[0] in modules}
    fresh = sorted((modules & set(may_start_fresh)) - {key.split('.')[0] for key in state})
    if fresh and state:
        print_log(f'{fresh} are not in {path} and start fresh', logger='current', level=logging.INFO)
        state.update({key: value for key, value in own.items() if key.split('.')[0] in fresh})
    load_strictly(backbone, state, f'checkpoint {path}')


class Branch(BaseModule):
    """One sub-backbone: a registered backbone whose stem and stages can be called one at a time.

        F_{-1} = stem(x)        E_i = stage(i)(F_{i-1})        what sources read = output(i, F_i)

    Links are added to the stream that runs from stage to stage. Swin and ConvNeXt normalize their outputs, not
    the stream; their senders' E_i is the stream, what sources read is normalized. Without links, ``output`` is
    exactly the stock backbone's own output: this is checked when a branch is built.

    Args:
        name: the branch's name, for messages.
        backbone: config of a registered backbone, with the ``_scope_`` of its library: of the ResNet family
            (``XLearnerResNet``, ``ResNet``, ``ResNeXt``, ...), Swin or ConvNeXt. Of Swin and ConvNeXt, ``out_indices``
            are the levels that have an output norm: name those that the branch's sources read, no others (an unread
            norm takes no gradient, which DDP refuses). With ``init_cfg=dict(type='Pretrained', checkpoint=...)``
            it starts from a checkpoint, which must fill it completely; a norm of an output that the checkpoint's own
            model does not have starts fresh.

    Attributes:
        channels: channels of every level.
        strides: pixels of the image per feature, of every level.
        output_levels: levels that sources can read.
        probe_size: height and width of the smallest image that its backbone takes whatever its settings.

    Raises:
        ConfigError: the backbone cannot be run stage by stage.
    """

    def __init__(self, name: str, backbone: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.backbone = MODELS.build(without_library_defaults(backbone))
        recompute_as_plain(self.backbone)
        try:
            self._stages = stages_of(self.backbone)
        except StagesError as error:
            raise ConfigError(f"branch '{name}': {error}") from error
        self.output_levels, self.probe_size = self._stages.output_levels, self._stages.probe_size
        self.channels, self.strides = self._probe()

    def init_weights(self) -> None:
        """Initialize the backbone; from a checkpoint strictly, also where the stock type only warns.

        Raises:
            CheckpointError: the checkpoint cannot be read, or leaves anything at its random start.
        """
        pretrained = pretrained_of(self.backbone)
        try:
            if pretrained is None:
                super().init_weights()
            else:
                load_pretrained(self.backbone, pretrained, self._stages.may_start_fresh())
                self._is_init = True
        except CheckpointError as error:
            raise CheckpointError(f"branch '{self.name}': {error}") from error

    def stem(self, x: Tensor) -> Tensor:
        """F_{-1}: image ``(B, 3, H, W)`` to the first stage's ``(B, C, H', W')``."""
        return self._stages.stem(x)

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return stage_i, which maps F_{i-1} to E_i, both ``(B, C, H, W)``."""
        return self._stages.stage(level)

    def output(self, level: int, x: Tensor) -> Tensor:
        """Return what sources read of F_i ``(B, C, H, W)``: normalized if the stock backbone's outputs are."""
        return self._stages.output(level, x)

    def size(self, level: int, height: int, width: int) -> tuple[int, int]:
        """Return height and width of E_i of an image of that height and width."""
        stride = self.strides[level]
        return self._stages.side(height, stride), self._stages.side(width, stride)

    def whole_modules(self) -> list[nn.Module]:
        """Return the modules that these steps call whole, which can be compiled."""
        return self._stages.whole_modules()

    def first_modules(self, levels: int) -> list[nn.Module]:
        """Return the modules of the stem and of the first levels, or of as many as there are."""
        first = range(min(levels, self._stages.levels))
        return [*self._stages.stem_modules(), *(part for level in first for part in self._stages.stage_modules(level))]

    def run(self, step: Callable[[Tensor], Tensor], x: Batch) -> Any:
        """Run one of these steps on a batch, ragged or not; a ragged one part by part where no norm needs it whole."""
        whole = isinstance(x, Tensor) or any_batch_statistics(self)
        return step(x) if whole else each(step, x)  # type: ignore[arg-type]

    @torch.no_grad()
    def _probe(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Measure channels and strides: right for dilated, plugged and re-shaped backbones alike."""
        training, size = self.training, self._stages.probe_size
        self.eval()
        # No random numbers: building a branch must not move a seeded run.
        image = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
        stream, outputs, channels, strides = self.stem(image), [], [], []
        for level in range(self._stages.levels):
            stream = self.stage(level)(stream)
            outputs.append(self.output(level, stream))
            channels.append(stream.shape[1])
            strides.append(size // stream.shape[-1])
        self._check_against_stock(image, outputs)
        self.train(training)
        return tuple(channels), tuple(strides)

    def _check_against_stock(self, image: Tensor, outputs: list[Tensor]) -> None:
        given = self.backbone(image)
        given = given if isinstance(given, tuple | list) else (given,)  # some return a single level as it is
        for level, theirs in zip(self.backbone.out_indices, given, strict=True):
            if theirs.shape != outputs[level].shape or not torch.allclose(theirs, outputs[level]):
                raise ConfigError(
                    f"branch '{self.name}': {type(self.backbone).__name__} computes more than its stages one after "
                    f'the other (its output {level} is not that of its stage), so links cannot be put between them'
                )


def frozen_modules(
    branches: Mapping[str, Branch], links: Mapping[str, nn.Module], keys: Iterable[LinkKey], frozen_stages: int
) -> list[nn.Module]:
    """Return the modules that ``frozen_stages`` freezes.

    Args:
        branches: the branches, by name.
        links: the links, by module name.
        keys: end points of the links.
        frozen_stages: k, as of a ResNet: -1 freezes nothing, 0 the stems, k also the first k levels with the links into
            them, all levels or more everything.
    """
    if frozen_stages < 0:
        return []
    if frozen_stages >= max(len(branch.channels) for branch in branches.values()):
        return [*branches.values(), *links.values()]
    first = [module for branch in branches.values() for module in branch.first_modules(frozen_stages)]
    return [*first, *(links[key.module_name] for key in keys if key.receiver_level < frozen_stages)]


def freeze(modules: Iterable[nn.Module]) -> None:
    """Freeze parameters, and put the modules in eval mode."""
    for module in modules:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad = False
