"""Whether a backbone is the ResNet that other libraries know, and of which size."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from xlearner_mm.checkpoint import META_KEY, load_strictly
from xlearner_mm.checkpoint.stem import flat_name, to_timm
from xlearner_mm.errors import CheckpointError
from xlearner_mm.export.stored_backbone import StoredBackbone
from xlearner_mm.registry import bare_name


def probe_images(batch: int = 1, height: int = 64, width: int = 64) -> Tensor:
    """Return normalized images ``(B, 3, H, W)``, the same every time; no seeded run is moved by them."""
    return torch.sin(torch.arange(batch * 3 * height * width, dtype=torch.float32)).view(batch, 3, height, width)


def check_same_features(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str, tolerance: float) -> None:
    """Compare features of all levels.

    Args:
        ours: of the backbone that is exported.
        theirs: of what it is exported to.
        what: the format, for messages.
        tolerance: largest difference, as a share of the level's largest value (of 1 where that is smaller).

    Raises:
        CheckpointError: a level differs; names it and by how much.
    """
    if len(ours) != len(theirs):
        raise CheckpointError(f'{what} gives {len(theirs)} levels in place of {len(ours)}: nothing is written')
    for level, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if own.shape != other.shape:
            raise CheckpointError(
                f'{what} gives {tuple(other.shape)} at level {level} in place of {tuple(own.shape)}: nothing is written'
            )
        share = float((own - other).abs().max() / own.abs().max().clamp(min=1))
        if not share <= tolerance:
            raise CheckpointError(
                f'{what} gives other features at level {level}, by {share:.1e} of the largest: nothing is written'
            )


def require(name: str) -> Any:
    """Import a package that a format is written, or checked, with.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f'this format needs {name} ({error}); install it with `pip install xlearner_mm[export]`'
        ) from error


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


TOLERANCE = 1e-5


@torch.no_grad()
def torchvision_state(stored: StoredBackbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights under torchvision's keys, and how the model that takes them is built.

    Args:
        stored: a ResNet of the usual width, ``style='pytorch'``.

    Raises:
        CheckpointError: another architecture, by name; or torchvision's features differ.
    """
    import torchvision

    resnet = plain_resnet_of(stored, 'torchvision')
    wanted = {'deep_stem': False, 'avg_down': False, 'stem_channels': 64, 'base_channels': 64}
    refuse_widths(stored, 'torchvision', resnet, wanted)
    name = f'resnet{resnet.depth}'
    model = getattr(torchvision.models, name)()
    model.fc = nn.Identity()
    load_strictly(model, stored.state, f'the backbone of {stored.path} in torchvision {name}')
    images = probe_images()
    ours = stored.build(out_indices=[0, 1, 2, 3])(images)
    check_same_features(ours, levels_of(model.eval(), images), f'torchvision {name}', TOLERANCE)
    return stored.state, {'name': 'torchvision', 'model': name, 'without': 'fc'}


@torch.no_grad()
def timm_state(stored: StoredBackbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights under timm's keys, and how the model that takes them is built.

    ``timm.create_model(model, **kwargs)``: of another width with ``channels``, with a deep stem as ``resnet50d``, or
    with ``stem_type='deep'`` where only the stem is deep.

    Args:
        stored: a ResNet with ``style='pytorch'``; without a deep stem, ``stem_channels`` must be 64.

    Raises:
        CheckpointError: another architecture, by name; timm is not installed; or its features differ.
    """
    timm = require('timm')
    resnet = plain_resnet_of(stored, 'timm')
    if not resnet.deep_stem:
        refuse_widths(stored, 'timm', resnet, {'stem_channels': 64})
    name, kwargs = _how_to_build(resnet)
    model = timm.create_model(name, **kwargs)
    state = _renamed(stored.state, resnet)
    load_strictly(model, state, f'the backbone of {stored.path} in timm {name}')
    images = probe_images()
    ours = stored.build(out_indices=[0, 1, 2, 3])(images)
    check_same_features(ours, levels_of(model.eval(), images), f'timm {name}', TOLERANCE)
    return state, {'name': 'timm', 'model': name, 'kwargs': kwargs}


def _how_to_build(resnet: PlainResNet) -> tuple[str, dict[str, Any]]:
    kwargs: dict[str, Any] = {'num_classes': 0}
    name = f'resnet{resnet.depth}'
    if resnet.deep_stem and resnet.avg_down:
        name += 'd'
    elif resnet.deep_stem:
        kwargs['stem_type'] = 'deep'
    elif resnet.avg_down:
        kwargs['avg_down'] = True
    if resnet.deep_stem and (resnet.stem_channels != 64 or not resnet.avg_down):
        kwargs['stem_width'] = resnet.stem_channels // 2
    if resnet.base_channels != 64:
        kwargs['channels'] = [resnet.base_channels * 2**level for level in range(4)]
    return name, kwargs


def _renamed(state: Mapping[str, Tensor], resnet: PlainResNet) -> dict[str, Tensor]:
    renamed = {to_timm(flat_name(key)): value for key, value in state.items()}
    shortcut = 'layer1.0.downsample.'
    if resnet.avg_down and f'{shortcut}0.weight' in state:
        # mmpretrain leaves out the pooling of a shortcut that keeps the size; the others have a place for it.
        for index in (1, 0):
            for key in [key for key in renamed if key.startswith(f'{shortcut}{index}.')]:
                renamed[key.replace(f'{shortcut}{index}.', f'{shortcut}{index + 1}.')] = renamed.pop(key)
    return renamed


ONNX_TOLERANCE = 1e-4
_TRACED = (2, 96, 64)
# Batches and sizes that it was not traced with, one of them odd.
_SHAPES = ((1, 64, 64), (3, 75, 130))


@torch.no_grad()
def write_onnx(backbone: nn.Module, path: Path, meta: Mapping[str, Any]) -> None:
    """Write a backbone as ONNX.

    Input ``images`` ``(B, 3, H, W)``, normalized as ``meta`` says; outputs ``level_0``, ... of any batch, height and
    width. The metadata is JSON under ``xlearner`` in the model's ``metadata_props``.

    Args:
        backbone: in evaluation mode.
        path: the file.
        meta: plain data.

    Raises:
        CheckpointError: it cannot be traced for all sizes, a package is missing, or the runtime's features differ.
    """
    onnx, runtime = require('onnx'), require('onnxruntime')
    require('onnxscript')
    model = _traced(backbone)
    onnx.helper.set_model_props(model, {META_KEY: json.dumps(meta)})
    onnx.checker.check_model(model)
    session = runtime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    _compare(backbone, session, _TRACED)
    for shape in _SHAPES:
        try:
            _compare(backbone, session, shape)
        except Exception as error:  # of the runtime's own kinds, or of ours: what it was traced with agrees
            raise CheckpointError(
                f'{type(backbone).__name__} is bound to one image size as ONNX ({_first_line(error)}); export to mm or '
                'safetensors'
            ) from error
    onnx.save(model, path)


def _compare(backbone: nn.Module, session: Any, shape: tuple[int, int, int]) -> None:
    images = probe_images(*shape)
    theirs = [torch.from_numpy(level) for level in session.run(None, {'images': images.numpy()})]
    check_same_features(backbone(images), theirs, 'ONNX', ONNX_TOLERANCE)


def _traced(backbone: nn.Module) -> Any:
    images = probe_images(*_TRACED)
    levels = len(backbone(images))
    dims = {0: Dim('batch'), 2: Dim('height'), 3: Dim('width')}
    try:
        with warnings.catch_warnings():
            # Of the tracer's own insides; what matters is compared afterwards.
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                backbone,
                (images,),
                input_names=['images'],
                output_names=[f'level_{i}' for i in range(levels)],
                dynamic_shapes=(dims,),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise CheckpointError(f'{type(backbone).__name__} cannot be traced for ONNX: {_first_line(error)}') from error
    assert program is not None
    return program.model_proto


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '') or type(error).__name__
