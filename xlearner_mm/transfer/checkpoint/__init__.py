"""Strict and safe reading of checkpoints."""

from xlearner_mm.transfer.checkpoint.error import CheckpointError
from xlearner_mm.transfer.checkpoint.file import resolve_checkpoint, sha256_of
from xlearner_mm.transfer.checkpoint.loading import (
    SAME_ARCHITECTURE,
    check_backbone,
    check_fits,
    load_backbone,
    load_strictly,
)
from xlearner_mm.transfer.checkpoint.reading import read_checkpoint
from xlearner_mm.transfer.checkpoint.recorded import recorded_widths
from xlearner_mm.transfer.checkpoint.scheme import nothing_executed
from xlearner_mm.transfer.checkpoint.weights import State, backbone_state, choose_weights, holds_ema, state_dict_of

__all__ = [
    'SAME_ARCHITECTURE',
    'CheckpointError',
    'State',
    'backbone_state',
    'check_backbone',
    'check_fits',
    'choose_weights',
    'holds_ema',
    'load_backbone',
    'load_strictly',
    'nothing_executed',
    'read_checkpoint',
    'recorded_widths',
    'resolve_checkpoint',
    'sha256_of',
    'state_dict_of',
]
