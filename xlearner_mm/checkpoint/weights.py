"""Which of a checkpoint's tensors are meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from xlearner_mm.errors import CheckpointError


@dataclass(frozen=True)
class PublishedFormat:
    """A format of published checkpoints.

    Args:
        name: who publishes it.
        holds: what is in it.
        prefix: what stands before the ResNet's own keys, without ``module.`` of data parallel training.
        container: keys that lead to the tensors. Defaults to ``('state_dict',)``.
    """

    name: str
    holds: str
    prefix: str
    container: tuple[str, ...] = ('state_dict',)


PUBLISHED: tuple[PublishedFormat, ...] = (
    PublishedFormat('torchvision', 'an ImageNet classifier: bare keys, `fc` beside', '', ()),
    PublishedFormat('timm', 'an ImageNet classifier: bare keys, `fc` beside', '', ()),
    PublishedFormat('mmpretrain', 'an ImageNet classifier: `backbone.`, `head.fc` beside', 'backbone.'),
    PublishedFormat('mmselfsup SimCLR', '`backbone.`, the projection `neck.` beside', 'backbone.'),
    PublishedFormat('mmselfsup MoCo v2', '`backbone.`, `encoder_k.` and the queue beside', 'backbone.'),
    PublishedFormat('mmselfsup BYOL', '`backbone.`, `target_net.` and `head.` beside', 'backbone.'),
    PublishedFormat('mmselfsup 0.x BYOL', '`online_net.0.`, `target_net.` and `head.` beside', 'online_net.0.'),
    PublishedFormat('facebookresearch/moco', '`module.encoder_q.`, `encoder_k.` and the queue beside', 'encoder_q.'),
    PublishedFormat('facebookresearch/moco-v3', '`module.base_encoder.`, momentum encoder beside', 'base_encoder.'),
    PublishedFormat('sthalles/SimCLR', '`backbone.`, whose `fc` is the projection', 'backbone.'),
    PublishedFormat('solo-learn', '`backbone.`, `momentum_backbone.` and `projector.` beside', 'backbone.'),
    PublishedFormat('solo-learn 1.0', '`encoder.`, `projector.` beside', 'encoder.'),
    PublishedFormat('lucidrains/byol-pytorch', 'the bare ResNet with its `fc`', '', ()),
    PublishedFormat(
        'VISSL', 'SimCLR, MoCo and others: `_feature_blocks.`', '_feature_blocks.',
        ('classy_state_dict', 'base_model', 'model', 'trunk'),
    ),
)  # fmt: skip
"""Formats whose backbone is found without being told where it is."""

CONTAINERS = tuple({entry.container: None for entry in PUBLISHED if entry.container})
PREFIXES = tuple({entry.prefix: None for entry in PUBLISHED if entry.prefix})


State = Mapping[str, Tensor]

# Where backbones are found in checkpoints, most specific first: a squeeze checkpoint holds a student, a
# training checkpoint of a stock network and what others publish a backbone, an export nothing around it.
_PREFIXES = ('student.', *PREFIXES, '')
_WRAPPERS = ('module.', '_orig_mod.')
# mmengine's EMAHook puts the averaged weights where the model's are, and the model's here, below its wrapper's name.
_SWAPPED = 'ema_state_dict'
_AVERAGED_MODEL = 'module.'


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without the names that wrappers put before theirs."""
    for container in (*CONTAINERS, ('model',)):
        inner = _within(checkpoint, container)
        if inner is not None:
            checkpoint = inner
            break
    state = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    for wrapper in _WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            state = {key[len(wrapper) :]: value for key, value in state.items()}
    return state


def _within(checkpoint: Mapping[str, Any], container: tuple[str, ...]) -> Mapping[str, Any] | None:
    inner: Any = checkpoint
    for key in container:
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, Mapping) else None


def holds_ema(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds both averaged weights and the model's own, as mmengine's EMAHook saves them."""
    return isinstance(checkpoint.get(_SWAPPED), Mapping)


def choose_weights(checkpoint: Mapping[str, Any], ema: bool | None, path: str) -> dict[str, Tensor]:
    """Return the averaged weights, or those that the optimizer has.

    Args:
        checkpoint: what was read.
        ema: True: the exponential moving average; False: the model's own; None: what stands in ``state_dict``, which
            is the average where there is one.
        path: the file's name, for messages.

    Raises:
        CheckpointError: the average is asked for and there is none.
    """
    if ema and not holds_ema(checkpoint):
        raise CheckpointError(
            f'checkpoint {path} holds no moving average of its weights (ema_state_dict): it was trained without '
            'EMAHook in custom_hooks; ask for the weights as they are'
        )
    state = state_dict_of(checkpoint)
    if ema is False and holds_ema(checkpoint):
        own = {
            key.removeprefix(_AVERAGED_MODEL): value
            for key, value in checkpoint[_SWAPPED].items()
            if key.startswith(_AVERAGED_MODEL)
        }
        state.update(own)
    return state


def backbone_state(state: State, module: nn.Module, prefix: str | None = None) -> dict[str, Tensor]:
    """Pick a backbone's own weights out of a checkpoint's.

    Args:
        state: weights of anything that holds the backbone.
        module: the backbone they are for.
        prefix: where the backbone is in ``state``, e.g. ``'backbone.branches.det.backbone'``. Defaults to None: found
            by itself in exports, squeeze checkpoints and training checkpoints of stock networks.
    """
    prefixes = _PREFIXES if prefix is None else (prefix.rstrip('.') + '.',)
    wanted = module.state_dict().keys()
    for candidate in prefixes:
        if any(candidate + key in state for key in wanted):
            return {key[len(candidate) :]: value for key, value in state.items() if key.startswith(candidate)}
    return {}
