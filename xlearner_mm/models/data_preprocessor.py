"""Each source's own data preprocessor, behind one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import nn

from xlearner_mm.config.plain_data import plain
from xlearner_mm.datasets.channel_order import BGR, GRAY, RGB, agreed_order, turned
from xlearner_mm.errors import SourceError
from xlearner_mm.sources import Source

_LOADED = 'loaded_order'


class MultiSourceDataPreprocessor(BaseDataPreprocessor):
    """Apply to every source's part of a batch that source's own stock preprocessor.

    Args:
        preprocessors: source name -> a built stock data preprocessor.

    Takes ``{source: {'inputs': [...], 'data_samples': [...]}}`` and gives
    ``{'inputs': {source: Tensor (B, 3, H, W)}, 'data_samples': {source: list}}``, which is what models unpack.
    """

    def __init__(self, preprocessors: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.preprocessors = nn.ModuleDict(dict(preprocessors))

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, dict]:
        """Normalize, pad and stack every source's images.

        Args:
            data: one collated batch per source.
            training: whether training-time augmentation on the batch is done. Defaults to False.

        Raises:
            SourceError: the batch holds a source nobody knows, or lacks one in training.
        """
        self._check(data, training)
        inputs, data_samples = {}, {}
        for source, batch in data.items():
            done = self.preprocessors[source](batch, training)
            inputs[source], data_samples[source] = done['inputs'], done.get('data_samples')
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


def require_preprocessor(source: Source) -> None:
    """Refuse a network that would get raw bytes: without settings the libraries' default normalizes nothing.

    Raises:
        SourceError: the source's network config names no data preprocessor.
    """
    if not source.network.get('data_preprocessor'):
        raise SourceError(
            f"source '{source.name}': its network has no data_preprocessor (normalization, padding); in configs of "
            'mmpretrain and mmseg it stands at the top level, beside `model`: copy it into `network`'
        )


def tell_loaded_order(preprocessor: nn.Module, order: str) -> None:
    """Tell a data preprocessor, and those within it, in which channel order its images are loaded.

    Args:
        preprocessor: a stock one, or one that holds several.
        order: of :data:`~xlearner_mm.datasets.channel_order.ORDERS`.
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
    """Return the channel order in which a preprocessor's images are loaded; None where nobody has told it."""
    return getattr(preprocessor, _LOADED, None)


def swaps_channels(preprocessor: nn.Module) -> bool:
    """Return whether a stock preprocessor swaps the channels."""
    return bool(getattr(preprocessor, '_channel_conversion', False) or getattr(preprocessor, 'to_rgb', False))


def normalization_of(preprocessor: nn.Module) -> tuple:
    """Return ``(mean, std, order)`` of what a network sees behind a stock preprocessor.

    The order is ``'rgb'``, ``'bgr'`` or ``'gray'``: that in which the images are loaded (see
    :func:`tell_loaded_order`; BGR where nobody has told it, as is the custom of OpenMMLab), swapped or not.
    """
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    as_tuple = tuple(
        None if value is None else tuple(round(float(v), 3) for v in value.flatten()) for value in (mean, std)
    )
    return (*as_tuple, turned(loaded_order_of(preprocessor) or BGR, swaps_channels(preprocessor)))


def channel_settings(preprocessor: nn.Module, order: str) -> str:
    """Return the settings of a preprocessor with which its network sees a channel order, for messages."""
    loaded = loaded_order_of(preprocessor) or BGR
    swap = loaded not in (order, GRAY)
    if hasattr(preprocessor, 'to_rgb'):
        return f'to_rgb={swap}'
    return f'{loaded}_to_{order}=True' if swap else 'bgr_to_rgb=False and rgb_to_bgr=False'


def stated_normalization(meta: Mapping[str, Any]) -> list | None:
    """Return the input normalization that a checkpoint's ``meta`` states, or None where it states none."""
    # A stage's checkpoint keeps it under StageMetaHook's key, an export at the top.
    stated = meta.get('xlearner', meta).get('normalization')
    return None if stated is None else plain(stated)


def same_normalization(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two normalizations ``(mean, std, order)`` are the same to a network; gray fits either order."""
    (*numbers, order), (*others, another) = plain(one), plain(other)
    return numbers == others and (order == another or GRAY in (order, another))


def check_same_normalization(preprocessors: Mapping[str, nn.Module]) -> tuple:
    """Return the one input normalization of all sources.

    Raises:
        SourceError: two sources' images reach the backbone differently although it sees those of both.
    """
    seen = {name: normalization_of(module) for name, module in preprocessors.items()}
    first_name = next((name for name, each in seen.items() if each[2] != GRAY), next(iter(seen)))
    first = seen[first_name]
    for name, other in seen.items():
        if not same_normalization(first, other):
            module = preprocessors[name]
            fix = f'to_rgb or bgr_to_rgb: {channel_settings(module, first[2])}' if other[2] != first[2] else 'mean, std'
            raise SourceError(
                f"source '{name}': input normalization (mean, std, channels) is {other}, of images loaded in "
                f"{loaded_order_of(module) or BGR} order, but source '{first_name}' has {first}; linked branches see "
                f'the images of all sources, so make them agree in its data_preprocessor ({fix})'
            )
    # Three equal channels are in either order.
    return (*first[:2], RGB) if first[2] == GRAY else first
