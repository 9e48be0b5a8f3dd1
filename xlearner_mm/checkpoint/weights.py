"""Find weights in checkpoints: the state dict, the moving average, a backbone under any prefix."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xlearner_mm.errors import CheckpointError


@dataclass(frozen=True)
class PublishedFormat:
    """A format of published checkpoints.

    Args:
        name: who publishes it.
        holds: its contents.
        prefix: of the ResNet's own keys, without the ``module.`` of data parallel training.
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
"""Published formats whose backbone is found automatically."""

State = Mapping[str, Tensor]

STUDENT = 'student.'
BRANCHES = 'backbone.branches.'
"""Prefixes in our own training checkpoints: of the squeeze's student, and of an expansion stage's branches."""

# The last one is of self-distillation (DINO): its teacher, the average of its student, is what it publishes.
_CONTAINERS = (*dict.fromkeys(entry.container for entry in PUBLISHED if entry.container), ('model',), ('teacher',))
# Most specific first; an export has no prefix.
_PREFIXES = (STUDENT, *dict.fromkeys(entry.prefix for entry in PUBLISHED if entry.prefix), '')
_WRAPPERS = ('module.', '_orig_mod.')
# mmengine's EMAHook stores the averaged weights as the model's, and the model's own here, below its wrapper's name.
_SWAPPED, _AVERAGED_MODEL = 'ema_state_dict', 'module.'


def below(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the weights below a prefix, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without the prefixes of wrappers."""
    for container in _CONTAINERS:
        inner: Any = checkpoint
        for key in container:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            checkpoint = inner
            break
    state = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    for wrapper in _WRAPPERS:
        if state and all(key.startswith(wrapper) for key in state):
            state = below(state, wrapper)
    return state


def holds_ema(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint holds averaged weights beside the model's own, as mmengine's EMAHook saves them."""
    return isinstance(checkpoint.get(_SWAPPED), Mapping)


def choose_weights(checkpoint: Mapping[str, Any], ema: bool | None, path: str) -> dict[str, Tensor]:
    """Return the averaged weights, or the model's own.

    Args:
        checkpoint: its content.
        ema: True: the exponential moving average; False: the model's own; None: those in ``state_dict``, which are the
            average where there is one.
        path: file name, for messages.

    Raises:
        CheckpointError: there is no average.
    """
    if ema and not holds_ema(checkpoint):
        raise CheckpointError(
            f'checkpoint {path} holds no moving average (ema_state_dict): it was trained without EMAHook in '
            'custom_hooks; ask for the weights as they are'
        )
    state = state_dict_of(checkpoint)
    return (
        {**state, **below(checkpoint[_SWAPPED], _AVERAGED_MODEL)} if ema is False and holds_ema(checkpoint) else state
    )


def branch_prefixes(state: State) -> dict[str, str]:
    """Return branch -> prefix of its backbone, of an expansion stage or an exported expanded backbone."""
    for holder in (BRANCHES, BRANCHES.partition('.')[2]):
        names = sorted({key.split('.')[0] for key in below(state, holder)})
        if names:
            return {name: f'{holder}{name}.backbone.' for name in names}
    return {}


def find_backbone_weights(
    state: State, keys: Collection[str], prefix: str | None = None
) -> tuple[str, dict[str, Tensor]]:
    """Find a backbone under any prefix.

    Args:
        state: weights of anything that holds the backbone.
        keys: keys of the backbone, any of which identifies it.
        prefix: the backbone's prefix. Defaults to None: found automatically, in exports, squeeze checkpoints,
            checkpoints of stock networks, published formats, and as the only branch of an expansion stage.

    Returns:
        Prefix and the backbone's own weights; none where it is not found.
    """
    if prefix is not None:
        candidates: Collection[str] = (prefix.rstrip('.') + '.' if prefix else '',)
    else:
        branches = branch_prefixes(state)
        candidates = (*_PREFIXES, *(branches.values() if len(branches) == 1 else ()))
    for candidate in candidates:
        if any(candidate + key in state for key in keys):
            return candidate, below(state, candidate)
    return '', {}
