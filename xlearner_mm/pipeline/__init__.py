"""Command lines as jobs that need each other, run in parallel, and can be interrupted and resumed."""

from xlearner_mm.pipeline.job import Job, JobError, training_job
from xlearner_mm.pipeline.process import can_fork
from xlearner_mm.pipeline.runner import JobRunner, Outcome

__all__ = ['Job', 'JobError', 'JobRunner', 'Outcome', 'can_fork', 'training_job']
