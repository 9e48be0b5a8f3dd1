"""Features of any registered backbone, by level."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xlearner_mm.errors import ConfigError

# Backbones with windows take no smaller image than a window of 7 or 12 at stride 32.
_PROBE_SIZES = (224, 384)


def by_level(backbone: nn.Module, outputs: Sequence[Tensor]) -> dict[int, Tensor]:
    """Return what a backbone gave out as level -> ``(B, C_i, H_i, W_i)``; its ``out_indices`` are the levels."""
    levels = getattr(backbone, 'out_indices', None) or range(len(outputs))
    return dict(zip(levels, outputs, strict=True))


@torch.no_grad()
def probe_channels(backbone: nn.Module, what: str) -> dict[int, int]:
    """Measure a backbone's channels: level -> C_i.

    Args:
        backbone: any registered backbone.
        what: what messages call it.

    Raises:
        ConfigError: it cannot run, or does not give out feature maps ``(B, C, H, W)``.
    """
    outputs = _probe(backbone, what)
    if not _are_feature_maps(outputs):
        raise ConfigError(
            f'{what}: {type(backbone).__name__} gives out {_shapes(outputs)}, expected a tuple with one feature map '
            '(B, C, H, W) per level; set its out_indices and output type'
        )
    return {level: feature.shape[1] for level, feature in by_level(backbone, outputs).items()}


def unreached_parameters(backbone: nn.Module, levels: Collection[int], what: str) -> dict[str, nn.Parameter]:
    """Return the parameters that would train, but that no loss on some levels gives a gradient, by name.

    Args:
        backbone: any registered backbone.
        levels: of those it gives out, the ones that losses read.
        what: what messages call it.
    """
    with torch.enable_grad():
        outputs = by_level(backbone, _probe(backbone, what))
    reached, nodes = set(), [outputs[level].grad_fn for level in levels]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        reached.add(id(getattr(node, 'variable', None)))
        before = {following for following, _ in getattr(node, 'next_functions', ())} - seen
        seen |= before
        nodes += before
    return {name: p for name, p in backbone.named_parameters() if p.requires_grad and id(p) not in reached}


def _probe(backbone: nn.Module, what: str) -> Any:
    training, failures = backbone.training, []
    backbone.eval()
    try:
        for size in _PROBE_SIZES:
            try:
                return backbone(torch.zeros(1, 3, size, size))
            except Exception as error:  # whatever a backbone has against an image of this size
                failures.append(f'{size}x{size}: {type(error).__name__} {error}')
    finally:
        backbone.train(training)
    raise ConfigError(f'{what}: {type(backbone).__name__} cannot run on an image of {"; nor of ".join(failures)}')


def _are_feature_maps(outputs: Any) -> bool:
    return isinstance(outputs, tuple | list) and all(isinstance(f, Tensor) and f.dim() == 4 for f in outputs)


def _shapes(outputs: Any) -> str:
    if isinstance(outputs, tuple | list):
        return f'({", ".join(_shapes(output) for output in outputs)})'
    return f'a tensor of shape {tuple(outputs.shape)}' if isinstance(outputs, Tensor) else type(outputs).__name__
