"""Checkpoints of both stages."""

from tests.export.conftest import trained  # noqa: F401
