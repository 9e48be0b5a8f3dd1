"""Packages that only some formats need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xlearner_mm.transfer.checkpoint import CheckpointError


def require(name: str) -> Any:
    """Import a package that a format is written, or checked, with.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise CheckpointError(
            f'this format needs {name} ({error}); install it with `pip install xlearner_mm[export]`'
        ) from error
