"""Settings as plain data, for checkpoints that are read without executing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlearner_mm.registry import with_registered_names


def plain(value: Any) -> Any:
    """Turn configs into dicts, lists, numbers and strings; every ``type`` becomes the name that it is registered by.

    Raises:
        TypeError: something that is no data, such as a module.
    """
    return _plain(with_registered_names(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(f'{value!r} is no plain data')
