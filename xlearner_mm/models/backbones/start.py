"""Where a backbone starts: its ``init_cfg``, and the older ``pretrained`` that networks hand down to it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import PretrainedInit

from xlearner_mm.registry import WEIGHT_INITIALIZERS, names_a

InitCfg = dict | list[dict] | None

# Published networks are named by their type: `open-mmlab://resnet50_v1c`, `resnetv1d50_b32x8_imagenet...pth`.
_DEEP_STEM = re.compile(r'(?:_|resnet)v1([cd])(?![a-z])')


def pretrained_entries(init_cfg: Any) -> list[Mapping[str, Any]]:
    """Return the entries of an ``init_cfg`` that start from a checkpoint.

    Args:
        init_cfg: MMEngine's weight initialisation: one entry, several, or None.
    """
    entries = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    return [entry for entry in entries if names_a(entry, PretrainedInit, WEIGHT_INITIALIZERS)]


def start_of(
    init_cfg: InitCfg, pretrained: str | None = None, deep_stem: bool = False
) -> tuple[dict[str, Any] | None, InitCfg]:
    """Return the one checkpoint to start from, and the rest of an ``init_cfg``.

    mmengine's own loader of checkpoints only warns, so the checkpoint is taken out of its hands.

    Args:
        init_cfg: mmengine's weight initialisation.
        pretrained: a checkpoint by the older name, which mmseg's networks hand down to their backbone. It gives way to
            that of an ``init_cfg``, which stands at the backbone itself; this is logged. Defaults to None.
        deep_stem: whether the backbone has the deep stem of ResNetV1c and V1d. Defaults to False.

    Raises:
        ValueError: more than one checkpoint in ``init_cfg``, or ``pretrained`` beside one without any.
    """
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    checkpoints: list[Any] = list(pretrained_entries(entries))
    if len(checkpoints) > 1:
        raise ValueError('init_cfg names more than one Pretrained checkpoint')
    if pretrained is not None and checkpoints:
        _log_replaced(pretrained, checkpoints[0]['checkpoint'], deep_stem)
    elif pretrained is not None:
        if entries:
            raise ValueError(
                f"init_cfg and pretrained='{pretrained}' cannot both be given: name the checkpoint in init_cfg, by "
                "dict(type='Pretrained', checkpoint=...), or set pretrained=None"
            )
        checkpoints = [{'type': 'Pretrained', 'checkpoint': pretrained}]
    rest = [entry for entry in entries if not pretrained_entries(entry)]
    return (dict(checkpoints[0]) if checkpoints else None), (rest or None)


def _log_replaced(pretrained: str, checkpoint: str, deep_stem: bool) -> None:
    print_log(f"XLearnerResNet: init_cfg's {checkpoint} is loaded in place of pretrained='{pretrained}'", 'current')
    meant = _DEEP_STEM.search(pretrained)
    if meant and not deep_stem:
        type_ = f'ResNetV1{meant[1]}'
        print_log(
            f"XLearnerResNet: the config was written for the deep stem of {type_}, as pretrained='{pretrained}' tells, "
            f"and gets a plain one, which plain weights need; type='XLearner{type_}' is the deep one",
            'current',
            logging.WARNING,
        )
