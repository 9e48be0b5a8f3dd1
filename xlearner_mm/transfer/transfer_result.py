"""What a finished transfer leaves in its work directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlearner_mm.pipeline.state import write_aside

RESULT_FILE = 'result.json'


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the file, whole, as the last thing that a transfer does.

    Args:
        folder: its work directory.
        result: ``metrics`` of the test split, ``sha256`` of the checkpoint, ``backbone_parameters`` and
            ``backbone_flops``; of a probe also how it came about.
    """
    write_aside(folder / RESULT_FILE, json.dumps(dict(result), indent=1) + '\n')


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return what a transfer has left; None where it has not come to its end.

    Args:
        folder: its work directory.
    """
    path = folder / RESULT_FILE
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None
