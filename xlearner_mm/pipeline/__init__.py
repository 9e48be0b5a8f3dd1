"""Many command-line jobs in order, some at a time, to be interrupted and continued at will."""

from xlearner_mm.pipeline.job import Job, JobError, training_job
from xlearner_mm.pipeline.runner import JobRunner, Outcome

__all__ = ['Job', 'JobError', 'JobRunner', 'Outcome', 'training_job']
