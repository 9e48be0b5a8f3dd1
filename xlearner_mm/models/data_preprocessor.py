"""Each source's own data preprocessor, behind one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import nn

from xlearner_mm.datasets.source import Source, SourceError
from xlearner_mm.plain_data import plain


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
        """Normalise, pad and stack every source's images.

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
    """Refuse a network that would get raw bytes: without settings the libraries' default normalises nothing.

    Raises:
        SourceError: the source's network config names no data preprocessor.
    """
    if not source.network.get('data_preprocessor'):
        raise SourceError(
            f"source '{source.name}': its network has no data_preprocessor (normalisation, padding); in configs of "
            'mmpretrain and mmseg it stands at the top level, beside `model`: copy it into `network`'
        )


def normalisation_of(preprocessor: nn.Module) -> tuple:
    """Return ``(mean, std, order)`` of a stock preprocessor, order being 'rgb', 'bgr' or 'as loaded'.

    Images are loaded as BGR by OpenMMLab, so a preprocessor that swaps channels feeds RGB.
    """
    mean, std = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    swaps = getattr(preprocessor, '_channel_conversion', False) or getattr(preprocessor, 'to_rgb', False)
    as_tuple = tuple(
        None if value is None else tuple(round(float(v), 3) for v in value.flatten()) for value in (mean, std)
    )
    return (*as_tuple, 'rgb' if swaps else 'as loaded')


def stated_normalisation(meta: Mapping[str, Any]) -> list | None:
    """Return the input normalisation that a checkpoint's ``meta`` states, or None where it states none."""
    # A stage's checkpoint keeps it under StageMetaHook's key, an export at the top.
    stated = meta.get('xlearner', meta).get('normalisation')
    return None if stated is None else plain(stated)


def check_same_normalisation(preprocessors: Mapping[str, nn.Module]) -> tuple:
    """Return the one input normalisation of all sources.

    Raises:
        SourceError: two sources normalise differently although one backbone sees the images of both.
    """
    seen = {name: normalisation_of(module) for name, module in preprocessors.items()}
    first_name, first = next(iter(seen.items()))
    for name, other in seen.items():
        if other != first:
            raise SourceError(
                f"source '{name}': input normalisation (mean, std, channels) is {other}, but source "
                f"'{first_name}' has {first}; linked branches see the images of all sources, so make them agree"
            )
    return first
