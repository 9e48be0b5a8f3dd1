"""What plugs into MMEngine's runner."""

from xlearner_mm.engine.hooks import StageMetaHook
from xlearner_mm.engine.loops import MultiSourceTestLoop, MultiSourceValLoop

__all__ = ['MultiSourceTestLoop', 'MultiSourceValLoop', 'StageMetaHook']
