"""How checkpoints that others have published hold their ResNet."""

from __future__ import annotations

from dataclasses import dataclass


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
