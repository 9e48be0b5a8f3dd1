"""One evaluator per source, results prefixed by source; how alike features are."""

from xlearner_mm.evaluation.cka import LinearCKA
from xlearner_mm.evaluation.multi_source_evaluator import MultiSourceEvaluator

__all__ = ['LinearCKA', 'MultiSourceEvaluator']
