"""Strict and safe reading of checkpoints."""

from xlearner_mm.checkpoint.loading import (
    SAME_ARCHITECTURE,
    check_backbone,
    check_fits,
    load_backbone,
    load_strictly,
)
from xlearner_mm.checkpoint.metadata import (
    META_KEY,
    description_of,
    recorded,
    recorded_normalization,
    recorded_widths,
)
from xlearner_mm.checkpoint.reading import nothing_executed, read_checkpoint, resolve_checkpoint, sha256_of
from xlearner_mm.checkpoint.weights import State, backbone_state, choose_weights, holds_ema, state_dict_of

__all__ = [
    'META_KEY',
    'SAME_ARCHITECTURE',
    'State',
    'backbone_state',
    'check_backbone',
    'check_fits',
    'choose_weights',
    'description_of',
    'holds_ema',
    'load_backbone',
    'load_strictly',
    'nothing_executed',
    'read_checkpoint',
    'recorded',
    'recorded_normalization',
    'recorded_widths',
    'resolve_checkpoint',
    'sha256_of',
    'state_dict_of',
]
