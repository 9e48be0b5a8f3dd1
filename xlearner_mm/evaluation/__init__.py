"""One evaluator per source, results prefixed by source."""

from xlearner_mm.evaluation.multi_source_evaluator import MultiSourceEvaluator

__all__ = ['MultiSourceEvaluator']
