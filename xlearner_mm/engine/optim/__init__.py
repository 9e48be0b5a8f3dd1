"""Optimization branch by branch, imported to be registered."""

from xlearner_mm.engine.optim import constructor, wrapper  # noqa: F401
