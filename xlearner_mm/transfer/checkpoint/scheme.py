"""What MMEngine reads checkpoints with: safetensors everywhere, and nothing executed where we are in charge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from xlearner_mm.transfer.checkpoint.reading import read_checkpoint


# Importing the package twice, as under two names, must be harmless: `force`.
@CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a safetensors file for MMEngine.

    Args:
        filename: the file.
        map_location: ignored, as there is no device in the file; loading copies to the model's.

    Raises:
        CheckpointError: it cannot be read.
    """
    return read_checkpoint(filename)


def load_from_plain_data(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read any checkpoint, also at an address, for MMEngine; arguments and errors as :func:`load_from_safetensors`."""
    return read_checkpoint(filename)


@contextmanager
def nothing_executed() -> Iterator[None]:
    """Let all that reads checkpoints through MMEngine execute nothing in them for the while.

    For stock modules with an ``init_cfg`` or a checkpoint of their own, MMEngine executes what is no plain data.
    Outside of this package's trainings and models it is left as it is: others may count on it.
    """
    schemes = CheckpointLoader._schemes
    CheckpointLoader._schemes = {'': load_from_plain_data}
    try:
        yield
    finally:
        CheckpointLoader._schemes = schemes
