"""One evaluator per source, results prefixed by source; how alike features are."""

from xlearner_mm.evaluation.multi_source_evaluator import MultiSourceEvaluator
from xlearner_mm.evaluation.similarity import LinearCKA

__all__ = ['LinearCKA', 'MultiSourceEvaluator']
