"""Loops of the runner."""

from xlearner_mm.engine.loops.multi_source_val_loop import MultiSourceTestLoop, MultiSourceValLoop

__all__ = ['MultiSourceTestLoop', 'MultiSourceValLoop']
