"""Whether a network uses a backbone as it was trained: what no key and no shape gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xlearner_mm.config.plain_data import plain
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.data_preprocessor import (
    channel_settings,
    loaded_order_of,
    normalization_of,
    same_normalization,
)
from xlearner_mm.registry import bare_name

_WAY_OUT = 'or write as_trained=False into init_cfg if you mean it'


def check_usage(backbone: nn.Module, preprocessors: Sequence[nn.Module], meta: Mapping[str, Any], what: str) -> None:
    """Compare a backbone and the images it will see with what a checkpoint records of its training.

    Args:
        backbone: the ResNet that was loaded.
        preprocessors: those of the network around it.
        meta: the checkpoint's metadata: of an export, or of a checkpoint that ``StageMetaHook`` described. Checkpoints
            of other trainings record neither, and pass.
        what: the checkpoint's name, for messages.

    Raises:
        CheckpointError: a bottleneck of another style, or images normalized differently.
    """
    record = meta.get('xlearner') or meta
    trained = record.get('backbone') or {}
    if bare_name(trained.get('type', '')).startswith('XLearnerResNet'):
        _check_style(backbone, trained.get('style', 'pytorch'), what)
    if record.get('normalization'):
        for preprocessor in preprocessors:
            _check_normalization(preprocessor, plain(record['normalization']), what)


def _check_style(backbone: Any, trained: str, what: str) -> None:
    # Blocks of depth 18 and 34 have one style only.
    if backbone.depth >= 50 and backbone.style != trained:
        raise CheckpointError(
            f"{what} was trained with style='{trained}', but the config gives the backbone style='{backbone.style}', "
            f"whose strides lie elsewhere: its features would be wrong. Set style='{trained}', {_WAY_OUT}"
        )


def _check_normalization(preprocessor: nn.Module, trained: Sequence[Any], what: str) -> None:
    given = plain(normalization_of(preprocessor))
    if same_normalization(given, trained):
        return
    mean, std, order = trained
    loaded = loaded_order_of(preprocessor)
    loading = f'which are loaded in {loaded} order'
    if loaded is None:
        loading = (
            "which are taken for BGR, as OpenMMLab loads files; XLearnerRunner looks which order the dataset's are in"
        )
    raise CheckpointError(
        f"{what} was trained on images with {_said(trained)}, but the config's {type(preprocessor).__name__} gives "
        f'{_said(given)}, of images {loading}. Set mean={mean}, std={std} and '
        f'{channel_settings(preprocessor, order)} in data_preprocessor, {_WAY_OUT}'
    )


def _said(normalization: Sequence[Any]) -> str:
    mean, std, channels = normalization
    return f'mean {mean}, std {std}, channels {channels}'
