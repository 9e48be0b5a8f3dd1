"""Trained stages and small data."""

from tests.engine.conftest import inside, mini_root, trained  # noqa: F401
