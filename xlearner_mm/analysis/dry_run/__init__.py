"""Dry run: cost of a training and faults of its config, without its data."""

from xlearner_mm.analysis.dry_run.figures import Estimate
from xlearner_mm.analysis.dry_run.run import dry_run, estimate_config

__all__ = ['Estimate', 'dry_run', 'estimate_config']
