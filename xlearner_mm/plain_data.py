"""Settings as plain data, for checkpoints that are read without executing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """Turn configs into dicts, lists, numbers and strings.

    Raises:
        TypeError: something that is no data, such as a module.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f'{value!r} is no plain data')
