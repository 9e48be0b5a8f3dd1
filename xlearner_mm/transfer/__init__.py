"""From a checkpoint to a backbone others can use, and to the transfer results."""

from xlearner_mm.transfer.checkpoint import CheckpointError, load_backbone, read_checkpoint

__all__ = ['CheckpointError', 'load_backbone', 'read_checkpoint']
