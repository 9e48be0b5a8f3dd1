"""Frozen teachers, and the comparison of their features with a student's: for both stages."""

from xlearner_mm.models.distillation import transforms  # noqa: F401  registers them
