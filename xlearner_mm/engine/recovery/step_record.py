"""One training step as a file, with everything that a replay needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor

from xlearner_mm.atomic import atomic_write
from xlearner_mm.checkpoint.reading import mmengine_state_types
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.unwrapped import unwrapped

_SAMPLE_TYPES = (
    *(('mmengine.structures', name) for name in ('BaseDataElement', 'InstanceData', 'LabelData', 'PixelData')),
    *(('mmpretrain.structures', name) for name in ('DataSample', 'MultiTaskDataSample')),
    *(('mmdet.structures.mask', name) for name in ('BitmapMasks', 'PolygonMasks')),
    ('mmdet.structures', 'DetDataSample'),
    ('mmdet.structures.bbox', 'HorizontalBoxes'),
    ('mmseg.structures', 'SegDataSample'),
)


def save_step(
    path: str, runner: Runner, batch: Any, losses: Mapping[str, float], buffers: Mapping[str, Tensor]
) -> None:
    """Save the current step atomically.

    Args:
        path: the file.
        runner: with the model's weights and the seed.
        batch: of the loader.
        losses: name -> value.
        buffers: the model's buffers that the step has changed, with their values before it.

    Raises:
        OSError: the file cannot be written.
    """
    model = unwrapped(runner.model)
    place = {'seed': runner.seed, 'rank': runner.rank, 'iter': runner.iter}
    own = model.state_dict()
    state = {**own, **{name: buffer for name, buffer in buffers.items() if name in own}}
    content = {'place': place, 'losses': dict(losses), 'batch': batch, 'state_dict': state}
    # In memory first: torch's writer hides the reason of a failure, such as a full disk.
    data = BytesIO()
    torch.save(content, data)
    with atomic_write(path) as partial, open(partial, 'wb') as file:
        file.write(data.getbuffer())


def read_step(path: str) -> dict[str, Any]:
    """Read a saved step; nothing but the data classes of OpenMMLab's libraries is executed.

    Returns:
        ``place`` (seed, rank, iter), ``losses``, ``batch`` and ``state_dict``.

    Raises:
        CheckpointError: it is missing, damaged, or not a saved step.
    """
    try:
        sample_types = [getattr(import_module(module), name) for module, name in _SAMPLE_TYPES]
        with torch.serialization.safe_globals([*mmengine_state_types(), *sample_types]):
            content = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f'{path} does not exist: give the file that the stopped training named') from error
    except Exception as error:
        # torch's message advises executing the file.
        raise CheckpointError(
            f"{path} is no saved step, damaged, or of other data than the stock libraries': give the file that the "
            'stopped training named'
        ) from error
    if not isinstance(content, dict) or not {'place', 'losses', 'batch', 'state_dict'} <= content.keys():
        raise CheckpointError(f'{path} is no saved step: give the file that the stopped training named')
    return content


def image_paths(batch: Any) -> dict[str, list[str]]:
    """Return source -> paths of the images of a batch; of a stock dataset under ``'batch'``."""
    sources = {'batch': batch} if 'data_samples' in batch else batch
    return {
        source: [str(s.metainfo.get('img_path', f'image {i} of the batch')) for i, s in enumerate(data['data_samples'])]
        for source, data in sources.items()
        if 'data_samples' in data
    }


def sources_not_finite(batch: Any) -> list[str]:
    """Return the sources of a batch with non-finite images."""
    return [
        source
        for source, data in batch.items()
        if isinstance(data, Mapping) and not all(bool(torch.isfinite(image).all()) for image in data.get('inputs', ()))
    ]
