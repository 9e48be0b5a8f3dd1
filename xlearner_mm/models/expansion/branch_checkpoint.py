"""Branches that start from a checkpoint: strictly, also where the stock backbone only warns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from xlearner_mm.checkpoint import backbone_state, load_strictly, read_checkpoint, state_dict_of
from xlearner_mm.models.backbones.xlearner_resnet import pretrained_entries


def pretrained_of(backbone: nn.Module) -> Mapping[str, Any] | None:
    """Return the ``Pretrained`` entry of a stock backbone's ``init_cfg``, or None where it starts from scratch."""
    return next(iter(pretrained_entries(getattr(backbone, 'init_cfg', None))), None)


def load_pretrained(backbone: nn.Module, pretrained: Mapping[str, Any], may_start_fresh: Sequence[str] = ()) -> None:
    """Load all of a backbone from a checkpoint.

    Args:
        backbone: the stock backbone.
        pretrained: its ``checkpoint`` and, optionally, the ``prefix`` of the backbone in it.
        may_start_fresh: modules that stay as they were built where the checkpoint lacks them, wholly. Defaults to ().

    Raises:
        CheckpointError: unreadable, or of another architecture; lists the differences.
    """
    path, own = pretrained['checkpoint'], backbone.state_dict()
    state = backbone_state(state_dict_of(read_checkpoint(path)), backbone, pretrained.get('prefix'))
    modules = {key.split('.')[0] for key in own}
    # Heads beside the backbone, and norms of outputs it does not give here, are no fault.
    state = {key: value for key, value in state.items() if key.split('.')[0] in modules}
    fresh = sorted((modules & set(may_start_fresh)) - {key.split('.')[0] for key in state})
    if fresh and state:
        print_log(f'{fresh} are not in {path} and start fresh', logger='current', level=logging.INFO)
        state.update({key: value for key, value in own.items() if key.split('.')[0] in fresh})
    load_strictly(backbone, state, f'checkpoint {path}')
