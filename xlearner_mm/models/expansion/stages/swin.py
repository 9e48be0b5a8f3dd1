"""Swin Transformer of mmpretrain, mmdet and mmseg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xlearner_mm.models.expansion.branch import Stages, StagesError
from xlearner_mm.registry import MODELS


@MODELS.register_module()
class SwinStages(Stages):
    """Swin: tokens ``(B, L, C)`` within a stage, ``(B, C, H, W)`` between stages, ``norm{i}`` on what leaves.

    The stock stage ends in the patch merging for the next one, which its output does not pass (unless
    ``out_after_downsample``). So patch merging comes first here, at the start of the next stage: links are added before
    it, at the resolution of what the stage returns. The stock forward normalizes its outputs but not the stream
    that feeds the next stage; so does this.

    Raises:
        StagesError: absolute position embeddings, or a checkpoint to be converted while it is loaded.
    """

    family = 'Swin'
    types = ('SwinTransformer',)
    normalizes_outputs = True

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        if backbone.use_abs_pos_embed:
            raise StagesError('Swin with use_abs_pos_embed=True is tied to one image size; leave it out')
        if getattr(backbone, 'convert_weights', False):
            raise StagesError(
                'convert_weights=True renames a checkpoint while it is loaded, which cannot be checked; convert it '
                "once (mmdet's tools/model_converters/swinv1_to_mmdet.py) and leave convert_weights out"
            )
        self.output_levels = tuple(backbone.out_indices)
        attention = backbone.stages[0].blocks[0].attn
        if not getattr(attention, 'pad_small_map', True):
            # mmpretrain's default refuses maps smaller than a window; the last one is 32 times smaller than the image.
            self.probe_size = 32 * attention.window_size

    @property
    def _merges_last(self) -> bool:
        """Return whether a stage's output has passed the patch merging after it."""
        return getattr(self.backbone, 'out_after_downsample', False)

    def whole_modules(self) -> list[nn.Module]:
        """Return the blocks of all stages."""
        return [block for stage in self.backbone.stages for block in stage.blocks]

    def stem(self, x: Tensor) -> Tensor:
        """Image ``(B, 3, H, W)`` to patches ``(B, C, H/4, W/4)``."""
        tokens, size = self.backbone.patch_embed(x)
        return _to_map(self.backbone.drop_after_pos(tokens), size)

    def stage(self, level: int) -> Callable[[Tensor], Tensor]:
        """Return the patch merging of the stage before and the blocks of this one."""
        stages = self.backbone.stages

        def run(x: Tensor) -> Tensor:
            size = (x.shape[-2], x.shape[-1])
            tokens = _to_tokens(x)
            if level > 0 and not self._merges_last:
                tokens, size = stages[level - 1].downsample(tokens, size)
            for block in stages[level].blocks:
                tokens = block(tokens, size)
            if self._merges_last and stages[level].downsample is not None:
                tokens, size = stages[level].downsample(tokens, size)
            return _to_map(tokens, size)

        return run

    def stem_modules(self) -> list[nn.Module]:
        """Return the patch embedding and its dropout."""
        return [self.backbone.patch_embed, self.backbone.drop_after_pos]

    def stage_modules(self, level: int) -> list[nn.Module]:
        """Return the stock stage, which ends in the patch merging after it, and ``norm{i}``, as mmdet freezes them."""
        stage = self.backbone.stages[level]
        return [stage, getattr(self.backbone, f'norm{level}')] if level in self.output_levels else [stage]

    def output(self, level: int, x: Tensor) -> Tensor:
        """Normalize by ``norm{i}`` where the backbone has one."""
        if level not in self.output_levels:
            return x
        norm = getattr(self.backbone, f'norm{level}')
        return _to_map(norm(_to_tokens(x)), (x.shape[-2], x.shape[-1])).contiguous()


def _to_tokens(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` to ``(B, H * W, C)``."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, H * W, C)`` to ``(B, C, H, W)``, a view: turned back, the tokens lie in memory as they did."""
    return tokens.view(len(tokens), *size, -1).permute(0, 3, 1, 2)
