"""Whether a network uses a backbone as it was trained: what no key and no shape gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from xlearner_mm.checkpoint import recorded, recorded_normalization
from xlearner_mm.errors import CheckpointError
from xlearner_mm.models.data_preprocessor import channel_settings, loaded_order_of, normalization_of
from xlearner_mm.normalization import Normalization
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
    trained = recorded(meta).get('backbone') or {}
    if bare_name(trained.get('type', '')).startswith('XLearnerResNet'):
        _check_style(backbone, trained.get('style', 'pytorch'), what)
    normalization = recorded_normalization(meta)
    if normalization is not None:
        for preprocessor in preprocessors:
            _check_normalization(preprocessor, normalization, what)


def _check_style(backbone: Any, trained: str, what: str) -> None:
    # Blocks of depth 18 and 34 have one style only.
    if backbone.depth >= 50 and backbone.style != trained:
        raise CheckpointError(
            f"{what} was trained with style='{trained}', but the config gives the backbone style='{backbone.style}', "
            f"whose strides lie elsewhere: its features would be wrong. Set style='{trained}', {_WAY_OUT}"
        )


def _check_normalization(preprocessor: nn.Module, trained: Normalization, what: str) -> None:
    loaded = loaded_order_of(preprocessor)
    loading = f'loaded in {loaded} order'
    if loaded is None:
        loading = "taken for BGR, as OpenMMLab loads files (XLearnerRunner looks which order the dataset's are in)"
    mean, std, order = trained.record()
    trained.check(
        normalization_of(preprocessor),
        what,
        f"the config's {type(preprocessor).__name__}, from images {loading}, gives",
        f'set mean={mean}, std={std} and {channel_settings(preprocessor, order)} in data_preprocessor, {_WAY_OUT}',
        CheckpointError,
    )
