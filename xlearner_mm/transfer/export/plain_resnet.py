"""Whether a backbone is the ResNet that other libraries know, and of which size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from xlearner_mm.registry import bare_name
from xlearner_mm.transfer.checkpoint import CheckpointError
from xlearner_mm.transfer.stored_backbone import StoredBackbone

# Type -> (deep stem, pooling shortcut).
_TYPES = {
    'ResNet': (False, False),
    'XLearnerResNet': (False, False),
    'ResNetV1c': (True, False),
    'XLearnerResNetV1c': (True, False),
    'ResNetV1d': (True, True),
    'XLearnerResNetV1d': (True, True),
}
_DEPTHS = (18, 34, 50, 101, 152)
# Settings of training, of what is given out, and those read off elsewhere; they leave the features as they are.
_FREE = {
    *('type', '_scope_', 'library', 'depth', 'stem_channels', 'base_channels', 'deep_stem', 'avg_down'),
    *('out_indices', 'frozen_stages', 'norm_eval', 'with_cp', 'zero_init_residual', 'drop_path_rate', 'norm_cfg'),
}
# Settings that change the features, and the one value of each that other libraries' ResNet has.
_FIXED: dict[str, Any] = {
    'in_channels': 3,
    'num_stages': 4,
    'strides': [1, 2, 2, 2],
    'dilations': [1, 1, 1, 1],
    'style': 'pytorch',
    'conv_cfg': None,
    'dcn': None,
    'stage_with_dcn': [False] * 4,
    'plugins': None,
    'multi_grid': None,
    'contract_dilation': False,
    'expansion': None,
}
_NORMS = ('BN', 'BN2d', 'SyncBN', 'MMSyncBN')
_EPSILON = 1e-5


@dataclass(frozen=True)
class PlainResNet:
    """A ResNet with the arithmetic of torchvision's.

    Args:
        depth: 18, 34, 50, 101 or 152.
        deep_stem: three 3x3 convolutions in place of the 7x7 one (ResNetV1c, ResNetV1d).
        avg_down: shortcuts that pool, then convolve (ResNetV1d).
        stem_channels: what the stem gives out; the usual ones are 64.
        base_channels: width of the blocks of level 0; the usual ones are 64.
    """

    depth: int
    deep_stem: bool
    avg_down: bool
    stem_channels: int
    base_channels: int


def plain_resnet_of(stored: StoredBackbone, target: str) -> PlainResNet:
    """Return which plain ResNet a backbone is.

    Args:
        stored: the backbone.
        target: the format that it is for, for messages.

    Raises:
        CheckpointError: it is another network, or has a setting that changes its features; names it.
    """
    config = stored.config
    kind = bare_name(config.get('type'))
    if kind not in _TYPES or config.get('depth') not in _DEPTHS:
        depth = f' of depth {config["depth"]}' if 'depth' in config else ''
        raise _refusal(stored, target, f'{config.get("type")}{depth}')
    for name, value in config.items():
        if name not in _FREE and not _is_usual(name, value):
            raise _refusal(stored, target, f'a ResNet with {name}={value!r}')
    norm = config.get('norm_cfg') or {'type': 'BN'}
    if bare_name(norm.get('type')) not in _NORMS or norm.get('eps', _EPSILON) != _EPSILON:
        raise _refusal(stored, target, f'a ResNet with norm_cfg={norm!r}')
    deep_stem, avg_down = _TYPES[kind]
    return PlainResNet(
        depth=config['depth'],
        deep_stem=config.get('deep_stem', deep_stem),
        avg_down=config.get('avg_down', avg_down),
        stem_channels=stored.state['layer1.0.conv1.weight'].shape[1],
        base_channels=stored.state['layer1.0.conv1.weight'].shape[0],
    )


def _is_usual(name: str, value: Any) -> bool:
    value = list(value) if isinstance(value, tuple) else value
    return name in _FIXED and value == _FIXED[name]


def _refusal(stored: StoredBackbone, target: str, found: str) -> CheckpointError:
    return CheckpointError(
        f'{target} cannot hold the backbone of {stored.path}: it is {found}; export to mm or safetensors'
    )


def refuse_widths(stored: StoredBackbone, target: str, resnet: PlainResNet, wanted: Mapping[str, Any]) -> None:
    """Refuse settings of a ResNet that a format has one value for.

    Raises:
        CheckpointError: the first of them that differs.
    """
    for name, value in wanted.items():
        if getattr(resnet, name) != value:
            raise _refusal(stored, target, f'a ResNet with {name}={getattr(resnet, name)!r}, which is {value} there')


def levels_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Run torchvision's or timm's ResNet on images ``(B, 3, H, W)`` and return its levels, ``layer1`` to ``layer4``."""
    levels: list[Tensor] = []
    handles = [
        getattr(model, f'layer{i}').register_forward_hook(lambda _module, _inputs, output: levels.append(output))
        for i in range(1, 5)
    ]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return levels
