"""A sub-backbone: how a stock backbone is run stage by stage, so that links can be put between its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from xlearner_mm.checkpoint import CheckpointError
from xlearner_mm.models.backbones import without_library_defaults
from xlearner_mm.models.expansion.branch_checkpoint import load_pretrained, pretrained_of
from xlearner_mm.models.expansion.stages import StagesError, stages_of
from xlearner_mm.models.norms import any_batch_statistics
from xlearner_mm.models.ragged import Batch, each
from xlearner_mm.models.recomputation import recompute_as_plain
from xlearner_mm.registry import MODELS


class Branch(BaseModule):
    """One sub-backbone: a registered backbone whose stem and stages can be called one at a time.

        F_{-1} = stem(x)        E_i = stage(i)(F_{i-1})        what sources read = output(i, F_i)

    Links are added to the stream that runs from stage to stage. Swin and ConvNeXt normalize what they give out, not
    the stream; their senders' E_i is the stream, what sources read is normalized. Without links, ``output`` is
    exactly the stock backbone's own output: this is checked when a branch is built.

    Args:
        name: the branch's name, for messages.
        backbone: config of a registered backbone, with the ``_scope_`` of its library: of the ResNet family
            (``XLearnerResNet``, ``ResNet``, ``ResNeXt``, ...), Swin or ConvNeXt. Of Swin and ConvNeXt, ``out_indices``
            are the levels that have an output norm: name those that the branch's sources read, no others (an unread
            norm takes no gradient, which DDP refuses). With ``init_cfg=dict(type='Pretrained', checkpoint=...)``
            it starts from a checkpoint, which must fill it completely; a norm of an output that the checkpoint's own
            model did not give out starts fresh.

    Attributes:
        channels: channels of every level.
        strides: pixels of the image per feature, of every level.
        output_levels: levels that sources can read.
        probe_size: height and width of the smallest image that its backbone takes whatever its settings.

    Raises:
        ValueError: the backbone cannot be run stage by stage.
    """

    def __init__(self, name: str, backbone: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.backbone = MODELS.build(without_library_defaults(backbone))
        recompute_as_plain(self.backbone)
        try:
            self._stages = stages_of(self.backbone)
        except StagesError as error:
            raise ValueError(f"branch '{name}': {error}") from error
        self.output_levels, self.probe_size = self._stages.output_levels, self._stages.probe_size
        self.channels, self.strides = self._probe()

    def init_weights(self) -> None:
        """Initialise the backbone; from a checkpoint strictly, also where the stock type only warns.

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
        """What sources read of F_i ``(B, C, H, W)``: normalized where the stock backbone normalizes its outputs."""
        return self._stages.output(level, x)

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
        for level, theirs in zip(self.backbone.out_indices, self.backbone(image), strict=True):
            if theirs.shape != outputs[level].shape or not torch.allclose(theirs, outputs[level]):
                raise ValueError(
                    f"branch '{self.name}': {type(self.backbone).__name__} computes more than its stages one after "
                    f'the other (its output {level} is not that of its stage), so links cannot be put between them'
                )
