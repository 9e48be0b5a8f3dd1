"""For runtimes without PyTorch."""

from __future__ import annotations

import json
import logging
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
    for shape in _SHAPES:
        images = probe_images(*shape)
        theirs = [torch.from_numpy(level) for level in session.run(None, {'images': images.numpy()})]
        check_same_features(backbone(images), theirs, 'ONNX', TOLERANCE)
    onnx.save(model, path)


def _traced(backbone: nn.Module) -> Any:
    images = probe_images(2, 96, 64)
    levels = len(backbone(images))
    dims = {0: Dim('batch'), 2: Dim('height'), 3: Dim('width')}
    logger = logging.getLogger('torch.onnx')
    level, logger_disabled = logger.level, logger.disabled
    try:
        logger.disabled = True
        with warnings.catch_warnings():
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
        reason = next(iter(str(error).splitlines()), '') or type(error).__name__
        raise CheckpointError(f'{type(backbone).__name__} cannot be traced for ONNX: {reason}') from error
    finally:
        logger.disabled = logger_disabled
        logger.setLevel(level)
    assert program is not None
    return program.model_proto
