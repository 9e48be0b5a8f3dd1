"""Strict and safe reading of checkpoints."""

from xlearner_mm.checkpoint.loading import (
    SAME_ARCHITECTURE,
    check_backbone,
    check_fits,
    find_backbone_state,
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
from xlearner_mm.checkpoint.weights import (
    BRANCHES,
    STUDENT,
    State,
    below,
    branch_prefixes,
    choose_weights,
    find_backbone_weights,
    holds_ema,
    state_dict_of,
)

__all__ = [
    'BRANCHES',
    'META_KEY',
    'SAME_ARCHITECTURE',
    'STUDENT',
    'State',
    'below',
    'branch_prefixes',
    'check_backbone',
    'check_fits',
    'choose_weights',
    'description_of',
    'find_backbone_state',
    'find_backbone_weights',
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
