"""Formats of other libraries, compared with the backbone before they are written: torchvision, timm, ONNX."""

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

_TOLERANCE, _ONNX_TOLERANCE = 1e-5, 1e-4
_TRACED = (2, 96, 64)
# Batches and sizes other than the traced one, one of them odd.
_SHAPES = ((1, 64, 64), (3, 75, 130))
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
# Settings that leave the features unchanged, or are handled elsewhere.
_FREE = {
    *('type', '_scope_', 'library', 'depth', 'stem_channels', 'base_channels', 'deep_stem', 'avg_down'),
    *('out_indices', 'frozen_stages', 'norm_eval', 'with_cp', 'zero_init_residual', 'drop_path_rate', 'norm_cfg'),
}
# Settings that change the features -> the value of other libraries' ResNets.
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
        deep_stem: three 3x3 convolutions instead of the 7x7 one (ResNetV1c, ResNetV1d).
        avg_down: shortcuts that pool, then convolve (ResNetV1d).
        stem_channels: output channels of the stem; usually 64.
        base_channels: width of the blocks of level 0; usually 64.
    """

    depth: int
    deep_stem: bool
    avg_down: bool
    stem_channels: int
    base_channels: int


def plain_resnet_of(stored: StoredBackbone, target: str) -> PlainResNet:
    """Return the plain ResNet that a backbone is.

    Args:
        stored: the backbone.
        target: the format, for messages.

    Raises:
        CheckpointError: it is another network, or has a setting that changes its features; names it.
    """
    config = stored.config
    kind = bare_name(config.get('type'))
    if kind not in _TYPES or config.get('depth') not in _DEPTHS:
        depth = f' of depth {config["depth"]}' if 'depth' in config else ''
        raise _refusal(stored, target, f'{config.get("type")}{depth}')
    for name, value in config.items():
        plain = list(value) if isinstance(value, tuple) else value
        if name not in _FREE and (name not in _FIXED or plain != _FIXED[name]):
            raise _refusal(stored, target, f'a ResNet with {name}={value!r}')
    norm = config.get('norm_cfg') or {'type': 'BN'}
    if bare_name(norm.get('type')) not in _NORMS or norm.get('eps', _EPSILON) != _EPSILON:
        raise _refusal(stored, target, f'a ResNet with norm_cfg={norm!r}')
    deep_stem, avg_down = _TYPES[kind]
    base_channels, stem_channels = stored.state['layer1.0.conv1.weight'].shape[:2]
    return PlainResNet(
        depth=config['depth'],
        deep_stem=config.get('deep_stem', deep_stem),
        avg_down=config.get('avg_down', avg_down),
        stem_channels=stem_channels,
        base_channels=base_channels,
    )


def _refusal(stored: StoredBackbone, target: str, found: str) -> CheckpointError:
    return CheckpointError(
        f'{target} cannot hold the backbone of {stored.path}: it is {found}; export to mm or safetensors'
    )


def _refuse_other(stored: StoredBackbone, target: str, resnet: PlainResNet, **expected: Any) -> None:
    for name, value in expected.items():
        if getattr(resnet, name) != value:
            raise _refusal(stored, target, f'a ResNet with {name}={getattr(resnet, name)!r}, which is {value} there')


@torch.no_grad()
def torchvision_state(stored: StoredBackbone) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Return the weights under torchvision's keys, and how to build the model that takes them.

    Args:
        stored: a ResNet of the usual width, ``style='pytorch'``.

    Raises:
        CheckpointError: another architecture; or torchvision's features differ.
    """
    import torchvision

    resnet = plain_resnet_of(stored, 'torchvision')
    usual = {'deep_stem': False, 'avg_down': False, 'stem_channels': 64, 'base_channels': 64}
    _refuse_other(stored, 'torchvision', resnet, **usual)
    name = f'resnet{resnet.depth}'
    model = getattr(torchvision.models, name)()
    model.fc = nn.Identity()
    _check_resnet(stored, model, stored.state, f'torchvision {name}')
    return stored.state, {'name': 'torchvision', 'model': name, 'without': 'fc'}


@torch.no_grad()
def timm_state(stored: StoredBackbone) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Return the weights under timm's keys, and how to build the model that takes them.

    ``timm.create_model(model, **kwargs)``: of another width with ``channels``, with a deep stem as ``resnet50d``, or
    with ``stem_type='deep'`` where only the stem is deep.

    Args:
        stored: a ResNet with ``style='pytorch'``; without a deep stem, ``stem_channels`` must be 64.

    Raises:
        CheckpointError: another architecture; timm is not installed; or its features differ.
    """
    timm = require('timm')
    resnet = plain_resnet_of(stored, 'timm')
    if not resnet.deep_stem:
        _refuse_other(stored, 'timm', resnet, stem_channels=64)
    name, kwargs = f'resnet{resnet.depth}', {'num_classes': 0}
    more: dict[str, Any] = {}
    if resnet.deep_stem and resnet.avg_down:
        name += 'd'
    elif resnet.deep_stem:
        more['stem_type'] = 'deep'
    elif resnet.avg_down:
        more['avg_down'] = True
    if resnet.deep_stem and (resnet.stem_channels != 64 or not resnet.avg_down):
        more['stem_width'] = resnet.stem_channels // 2
    if resnet.base_channels != 64:
        more['channels'] = [resnet.base_channels * 2**level for level in range(4)]
    state = {to_timm(flat_name(key)): value for key, value in stored.state.items()}
    if resnet.avg_down and 'layer1.0.downsample.0.weight' in stored.state:
        # mmpretrain leaves out the pooling of a shortcut that keeps the size; the others have a place for it.
        for index in (1, 0):
            place, next_place = f'layer1.0.downsample.{index}.', f'layer1.0.downsample.{index + 1}.'
            for key in [key for key in state if key.startswith(place)]:
                state[key.replace(place, next_place)] = state.pop(key)
    _check_resnet(stored, timm.create_model(name, **kwargs, **more), state, f'timm {name}')
    return state, {'name': 'timm', 'model': name, 'kwargs': {**kwargs, **more}}


def _check_resnet(stored: StoredBackbone, model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load the weights into another library's ResNet and compare its levels, ``layer1`` to ``layer4``."""
    load_strictly(model, state, f'the backbone of {stored.path} in {what}')
    images, levels = probe_images(), []
    for name in ('layer1', 'layer2', 'layer3', 'layer4'):
        getattr(model, name).register_forward_hook(lambda _module, _inputs, output: levels.append(output))
    model.eval()(images)
    check_same_features(stored.build(out_indices=[0, 1, 2, 3])(images), levels, what, _TOLERANCE)


@torch.no_grad()
def write_onnx(backbone: nn.Module, path: Path, meta: Mapping[str, Any]) -> None:
    """Write a backbone as ONNX.

    Input ``images`` ``(B, 3, H, W)``, normalized as ``meta`` says; outputs ``level_0``, ... of any batch, height and
    width. The metadata is JSON under ``xlearner`` in the model's ``metadata_props``.

    Args:
        backbone: in eval mode.
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
    for shape in (_TRACED, *_SHAPES):
        try:
            images = probe_images(*shape)
            theirs = [torch.from_numpy(level) for level in session.run(None, {'images': images.numpy()})]
            check_same_features(backbone(images), theirs, 'ONNX', _ONNX_TOLERANCE)
        except Exception as error:  # the runtime has error types of its own
            if shape == _TRACED:
                raise
            raise CheckpointError(
                f'{type(backbone).__name__} is bound to one image size as ONNX ({_first_line(error)}); export to mm or '
                'safetensors'
            ) from error
    onnx.save(model, path)


def _traced(backbone: nn.Module) -> Any:
    images = probe_images(*_TRACED)
    names = [f'level_{i}' for i in range(len(backbone(images)))]
    dims = {0: Dim('batch'), 2: Dim('height'), 3: Dim('width')}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of the tracer's internals
            program = torch.onnx.export(
                backbone,
                (images,),
                input_names=['images'],
                output_names=names,
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


def probe_images(batch: int = 1, height: int = 64, width: int = 64) -> Tensor:
    """Return normalized images ``(B, 3, H, W)``, always the same, without drawing random numbers."""
    return torch.sin(torch.arange(batch * 3 * height * width, dtype=torch.float32)).view(batch, 3, height, width)


def check_same_features(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str, tolerance: float) -> None:
    """Compare features of all levels.

    Args:
        ours: of the exported backbone.
        theirs: of the other format.
        what: the format, for messages.
        tolerance: largest difference, as a share of the level's largest value (of 1 where that is smaller).

    Raises:
        CheckpointError: a level differs; names it and the difference.
    """
    if len(ours) != len(theirs):
        raise CheckpointError(f'{what} returns {len(theirs)} levels, expected {len(ours)}: nothing is written')
    for level, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        if own.shape != other.shape:
            found, expected = tuple(other.shape), tuple(own.shape)
            raise CheckpointError(f'{what} returns {found} at level {level}, expected {expected}: nothing is written')
        share = float((own - other).abs().max() / own.abs().max().clamp(min=1))
        if not share <= tolerance:
            raise CheckpointError(
                f'{what} returns other features at level {level}, by {share:.1e} of the largest: nothing is written'
            )


def require(name: str) -> Any:
    """Import a package that a format needs.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f'this format needs {name} ({error}); install it with `pip install -e .[export]`'
        ) from error
