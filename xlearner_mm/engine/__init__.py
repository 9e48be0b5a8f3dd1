"""MMEngine's runner, hooks, loops and optimizers for training on several sources."""

from xlearner_mm.engine import hooks, loops, optim
from xlearner_mm.engine.runner import XLearnerRunner

__all__ = ['XLearnerRunner', 'hooks', 'loops', 'optim']
