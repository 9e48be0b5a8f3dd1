"""A training, tried without its data: what it takes, and what is wrong with its config."""

from xlearner_mm.analysis.dry_run.figures import Estimate
from xlearner_mm.analysis.dry_run.run import dry_run, estimate_config

__all__ = ['Estimate', 'dry_run', 'estimate_config']
