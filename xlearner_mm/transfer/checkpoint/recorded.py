"""What a checkpoint records of its backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def recorded_widths(checkpoint: Mapping[str, Any]) -> dict[str, int]:
    """Return the inner widths that a training checkpoint or an export says its backbone was pruned to."""
    meta = checkpoint.get('meta') or {}
    described = (meta.get('xlearner') or meta).get('backbone')
    return dict(described.get('widths') or {}) if isinstance(described, Mapping) else {}
