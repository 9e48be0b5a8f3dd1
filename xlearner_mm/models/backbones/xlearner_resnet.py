"""What transfer configs name: a plain ResNet that loads strictly."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones import ResNet

from xlearner_mm.registry import MODELS
from xlearner_mm.transfer.checkpoint import load_backbone


@MODELS.register_module()
class XLearnerResNet(ResNet):
    """A plain ResNet: X-Learner's student, and the backbone of downstream configs.

    Its arithmetic and its keys are those of the stock ResNet (with ``style='pytorch'`` also torchvision's), and it
    takes all of mmseg's arguments. What it adds is loading: ``init_cfg=dict(type='Pretrained', checkpoint=...)``
    accepts an export, a squeeze checkpoint or a training checkpoint as it is, and raises where the stock type
    warns and trains from noise.

    Args:
        depth: 18, 34, 50, 101 or 152.
        init_cfg: mmengine's weight initialisation; for ``type='Pretrained'`` also ``prefix`` (where the backbone is
            in the checkpoint; found by itself by default) and ``strict`` (defaults to True).
        kwargs: mmseg's ResNet arguments: ``stem_channels``, ``base_channels``, ``out_indices``, ``style``,
            ``frozen_stages``, ``norm_cfg``, ``norm_eval``, ``dilations``, ``dcn``, ``plugins``, ``with_cp``, ...

    Raises:
        CheckpointError: when weights are initialised from a checkpoint that leaves anything at its random start.
    """

    def __init__(self, depth: int, init_cfg: dict | list[dict] | None = None, **kwargs: Any) -> None:
        self.pretrained_cfg, rest = _split_pretrained(init_cfg)
        super().__init__(depth, init_cfg=rest, **kwargs)
        if isinstance(kwargs.get('pretrained'), str):
            self.pretrained_cfg = {'type': 'Pretrained', 'checkpoint': kwargs['pretrained']}
            self.init_cfg = None

    def init_weights(self) -> None:
        """Initialise at random, then load the pretrained checkpoint, strictly."""
        super().init_weights()
        if self.pretrained_cfg is not None:
            load_backbone(
                self,
                self.pretrained_cfg['checkpoint'],
                prefix=self.pretrained_cfg.get('prefix'),
                strict=self.pretrained_cfg.get('strict', True),
            )

    def train(self, mode: bool = True) -> XLearnerResNet:
        """Set training mode, frozen stages excepted, and return the module as torch's do."""
        super().train(mode)
        return self


def _split_pretrained(
    init_cfg: dict | list[dict] | None,
) -> tuple[dict | None, dict | list[dict] | None]:
    """Take the entry of type 'Pretrained' out: mmengine's own loader only warns."""
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [entry for entry in entries if entry['type'] == 'Pretrained']
    if len(pretrained) > 1:
        raise ValueError('init_cfg names more than one Pretrained checkpoint')
    rest = [entry for entry in entries if entry['type'] != 'Pretrained']
    return (dict(pretrained[0]) if pretrained else None), (rest or None)
