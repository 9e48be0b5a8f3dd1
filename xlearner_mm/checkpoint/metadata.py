"""Metadata of our checkpoints and exports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlearner_mm.normalization import Normalization

META_KEY = 'xlearner'
"""Key of our metadata: in the ``meta`` of training checkpoints, and in the headers of safetensors and ONNX files."""

_DESCRIPTION = ('stage', 'backbone', 'sources', 'normalization')


def recorded(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return our part of a checkpoint's ``meta``: below :data:`META_KEY` of a training, all of it of an export."""
    return meta.get(META_KEY) or meta


def description_of(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the description in a stage's checkpoint or an export, or None.

    It has at least ``stage``, ``backbone``, ``sources`` and ``normalization``.
    """
    meta = checkpoint.get('meta') or {}
    for found in (meta.get(META_KEY), meta):
        if isinstance(found, Mapping) and set(_DESCRIPTION) <= set(found):
            return dict(found)
    return None


def recorded_normalization(meta: Mapping[str, Any]) -> Normalization | None:
    """Return the input normalization in a checkpoint's ``meta``, or None.

    Raises:
        ValueError: it is of another form.
    """
    found = recorded(meta).get('normalization')
    return None if found is None else Normalization.parse(found)


def recorded_widths(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return the inner widths that the backbone in a training checkpoint or an export was pruned to."""
    described = recorded(checkpoint.get('meta') or {}).get('backbone')
    return dict(described.get('widths') or {}) if isinstance(described, Mapping) else {}
