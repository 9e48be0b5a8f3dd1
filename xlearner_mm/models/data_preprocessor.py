"""Each source's own data preprocessor, behind one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from xlearner_mm.datasets.channel_order import agreed_order, turned
from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.models.norms import Ragged
from xlearner_mm.normalization import BGR, GRAY, RGB, Normalization
from xlearner_mm.sources import Source

_LOADED = 'loaded_order'
_FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


class MultiSourceDataPreprocessor(BaseDataPreprocessor):
    """Apply to every source's part of a batch that source's own stock preprocessor.

    Args:
        preprocessors: source name -> a built stock data preprocessor.
        memory_format: of the images, which convolutions and norms pass on to features: ``'contiguous'`` or
            ``'channels_last'``. Weights, and thus checkpoints, stay contiguous. Defaults to ``'contiguous'``.

    Raises:
        ConfigError: an unknown memory format.

    Takes ``{source: {'inputs': [...], 'data_samples': [...]}}`` and gives
    ``{'inputs': {source: Tensor (B, 3, H, W)}, 'data_samples': {source: list}}``, which is what models unpack.
    """

    def __init__(self, preprocessors: Mapping[str, nn.Module], memory_format: str = 'contiguous') -> None:
        super().__init__()
        self.memory_format = memory_format_of(memory_format)
        self.preprocessors = nn.ModuleDict(dict(preprocessors))

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, dict]:
        """Normalize, pad and stack every source's images.

        Args:
            data: one collated batch per source.
            training: whether training-time augmentation on the batch is done. Defaults to False.

        Raises:
            SourceError: the batch holds an unknown source, or lacks one in training.
        """
        self._check(data, training)
        inputs, data_samples = {}, {}
        for source, batch in data.items():
            done = self.preprocessors[source](batch, training)
            inputs[source] = done['inputs'].contiguous(memory_format=self.memory_format)
            data_samples[source] = done.get('data_samples')
        return {'inputs': inputs, 'data_samples': data_samples}

    def _check(self, data: Mapping[str, Any], training: bool) -> None:
        unknown = set(data) - set(self.preprocessors)
        if unknown:
            raise SourceError(
                f'the batch holds unknown source(s) {sorted(unknown)}; '
                f'the model was built for {sorted(self.preprocessors)}'
            )
        absent = set(self.preprocessors) - set(data)
        if training and absent:
            raise SourceError(
                f'the batch holds no image of source(s) {sorted(absent)}: train_dataloader.batch_size must be '
                "the sum of the sources' batch sizes, and its sampler a MultiSourceSampler"
            )


def memory_format_of(name: str) -> torch.memory_format:
    """Return PyTorch's memory format of a name.

    Raises:
        ConfigError: an unknown memory format.
    """
    if name not in _FORMATS:
        raise ConfigError(f"unknown memory_format '{name}', choose from {tuple(_FORMATS)}")
    return _FORMATS[name]


def pass_contiguous_where_misread(model: nn.Module) -> None:
    """Let modules of a model whose kernels misread channels-last memory get contiguous tensors.

    mmcv's operators (RoIAlign, deformable convolutions, ...) take any memory for contiguous, without an error. The
    weights' gradient of a strided 1x1 convolution of fewer than 8 channels is written out of bounds by oneDNN on CPUs
    with AVX2 and without AVX-512 (oneDNN 3.10, in torch 2.11).

    Args:
        model: whose modules of these kinds get a hook.
    """
    for module in model.modules():
        if _is_operator(module) or _is_strided_projection(module):
            module.register_forward_pre_hook(_as_contiguous, with_kwargs=True)


def _is_operator(module: nn.Module) -> bool:
    return any(kind.__module__.startswith('mmcv.ops') for kind in type(module).__mro__)


def _is_strided_projection(module: nn.Module) -> bool:
    """Return whether a module is a strided 1x1 convolution with fewer channels than oneDNN's vectors of 8."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels < 8
    )


def _as_contiguous(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple, dict]:
    def contiguous(value: Any) -> Any:
        return value.contiguous() if isinstance(value, Tensor | Ragged) else value

    return tuple(map(contiguous, args)), {key: contiguous(value) for key, value in kwargs.items()}


def require_preprocessor(source: Source) -> None:
    """Refuse a network that would get raw bytes: without settings the libraries' default normalizes nothing.

    Raises:
        SourceError: the source's network config names no data preprocessor.
    """
    if not source.network.get('data_preprocessor'):
        raise SourceError(
            f"source '{source.name}': its network has no data_preprocessor (normalization, padding); in configs of "
            'mmpretrain and mmseg it is at the top level, beside `model`: copy it into `network`'
        )


def tell_loaded_order(preprocessor: nn.Module, order: str) -> None:
    """Tell a data preprocessor, and those within it, in which channel order its images are loaded.

    Args:
        preprocessor: a stock one, or one that holds several.
        order: of :data:`~xlearner_mm.normalization.ORDERS`.
    """
    for module in preprocessor.modules():
        setattr(module, _LOADED, order)


def source_order(source: Source) -> str:
    """Return the channel order in which a source's images are loaded, for training and for validation.

    Raises:
        SourceError: they differ, or a dataset of arrays does not say its order.
    """
    validation = None if source.val_dataloader is None else source.val_dataloader.get('dataset')
    return agreed_order({'training': source.dataset, 'validation': validation}, f"source '{source.name}'")


def tell_source_order(preprocessor: nn.Module, source: Source) -> None:
    """Tell a source's data preprocessor in which order its images are loaded, see :func:`source_order`."""
    tell_loaded_order(preprocessor, source_order(source))


def loaded_order_of(preprocessor: nn.Module) -> str | None:
    """Return the channel order in which a preprocessor's images are loaded; None where it is not known."""
    return getattr(preprocessor, _LOADED, None)


def swaps_channels(preprocessor: nn.Module) -> bool:
    """Return whether a stock preprocessor swaps the channels."""
    return bool(getattr(preprocessor, '_channel_conversion', False) or getattr(preprocessor, 'to_rgb', False))


def normalization_of(preprocessor: nn.Module) -> Normalization:
    """Return the normalization of what a network sees behind a stock preprocessor.

    Images are taken for BGR, OpenMMLab's custom, unless :func:`tell_loaded_order` was called.
    """
    mean, std = (
        None if value is None else tuple(round(float(v), 3) for v in value.flatten())
        for value in (getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None))
    )
    return Normalization(mean, std, turned(loaded_order_of(preprocessor) or BGR, swaps_channels(preprocessor)))


def channel_settings(preprocessor: nn.Module, order: str) -> str:
    """Return the settings of a preprocessor with which its network sees a channel order, for messages."""
    loaded = loaded_order_of(preprocessor) or BGR
    swap = loaded not in (order, GRAY)
    if hasattr(preprocessor, 'to_rgb'):
        return f'to_rgb={swap}'
    return f'{loaded}_to_{order}=True' if swap else 'bgr_to_rgb=False and rgb_to_bgr=False'


def common_normalization(preprocessors: Mapping[str, nn.Module]) -> Normalization:
    """Return the one input normalization of all sources.

    Args:
        preprocessors: source name -> its stock data preprocessor.

    Raises:
        SourceError: two sources normalize images differently, although linked branches see the images of both.
    """
    seen = {name: normalization_of(module) for name, module in preprocessors.items()}
    first_name = next((name for name, each in seen.items() if each.order != GRAY), next(iter(seen)))
    first = seen[first_name]
    for name, other in seen.items():
        module = preprocessors[name]
        channels = f'to_rgb or bgr_to_rgb: {channel_settings(module, first.order)}'
        other.check(
            first,
            f"source '{name}', whose images are loaded in {loaded_order_of(module) or BGR} order,",
            f"source '{first_name}' has",
            'linked branches see the images of all sources: make them agree in its data_preprocessor '
            f'({channels if other.order != first.order else "mean, std"})',
            SourceError,
        )
    # Three equal channels are in either order.
    return replace(first, order=RGB) if first.order == GRAY else first
