"""From a checkpoint to a backbone others can use, and to the transfer results."""

from xlearner_mm.transfer.checkpoint import CheckpointError, load_backbone, read_checkpoint
from xlearner_mm.transfer.checkpoint.scheme import load_from_safetensors

__all__ = ['CheckpointError', 'load_backbone', 'load_from_safetensors', 'read_checkpoint']
