"""For runtimes without PyTorch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from xlearner_mm.transfer.checkpoint import CheckpointError
from xlearner_mm.transfer.export.packages import require
from xlearner_mm.transfer.export.verification import check_same_features, probe_images

TOLERANCE = 1e-4
METADATA_KEY = 'xlearner_mm'
_TRACED = (2, 96, 64)
# Batches and sizes that it was not traced with, one of them odd.
_SHAPES = ((1, 64, 64), (3, 75, 130))


@torch.no_grad()
def write_onnx(backbone: nn.Module, path: Path, meta: Mapping[str, Any]) -> None:
    """Write a backbone as ONNX.

    Input ``images`` ``(B, 3, H, W)``, normalised as ``meta`` says; outputs ``level_0``, ... of any batch, height and
    width. The metadata is JSON under ``xlearner_mm`` in the model's ``metadata_props``.

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
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(meta)})
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
    check_same_features(backbone(images), theirs, 'ONNX', TOLERANCE)


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
