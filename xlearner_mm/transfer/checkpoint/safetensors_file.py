"""Safetensors: weights and strings, nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from xlearner_mm.transfer.checkpoint.error import CheckpointError

SUFFIX = '.safetensors'
# Its metadata maps strings to strings: ours is one of them, as JSON. Other libraries look for 'format'.
_KEY = 'xlearner_mm'
_LENGTH_BYTES = 8


def is_safetensors(path: str, data: bytes) -> bool:
    """Whether a file is meant to be, or is, in the safetensors format: a length, then a JSON header."""
    return path.endswith(SUFFIX) or data[_LENGTH_BYTES : _LENGTH_BYTES + 2] == b'{"'


def parse_safetensors(path: str, data: bytes) -> dict[str, Any]:
    """Return the ``state_dict`` and the ``meta`` of a safetensors file; ``meta`` is empty where it has none of ours.

    Args:
        path: the file's name, for messages.
        data: its bytes.

    Raises:
        CheckpointError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], 'little')
        strings = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length]).get('__metadata__', {})
        meta = json.loads(strings.get(_KEY, '{}'))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f'checkpoint {path} is damaged or no safetensors: {error}; copy or save it again'
        ) from error
    return {'state_dict': state, 'meta': meta}


def safetensors_bytes(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Return a safetensors file of weights and metadata that is plain data."""
    from safetensors.torch import save

    return save(dict(state), metadata={'format': 'pt', _KEY: json.dumps(meta)})
