"""Weights and what is known of them, in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xlearner_mm.engine.whole_file import written_whole
from xlearner_mm.transfer.checkpoint import CheckpointError, sha256_of
from xlearner_mm.transfer.checkpoint.reading import SIDECAR_SUFFIX
from xlearner_mm.transfer.checkpoint.safetensors_file import SUFFIX as SAFETENSORS
from xlearner_mm.transfer.checkpoint.safetensors_file import safetensors_bytes

State = Mapping[str, Tensor]


def write_whole(out: Path, write: Callable[[Path], None]) -> None:
    """Write a file aside and rename it: a file of that name is always whole.

    Raises:
        CheckpointError: the disk is full, or the place cannot be written to.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(str(out)) as aside:
            write(Path(aside))
    except (OSError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f'{out} cannot be written: {error}') from error


def write_mm(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write ``dict(state_dict=..., meta=...)``, as OpenMMLab's libraries read it."""
    write_whole(out, lambda path: torch.save({'state_dict': dict(state), 'meta': dict(meta)}, path))


def write_safetensors(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write safetensors, the metadata as JSON under ``xlearner_mm`` in its own metadata."""
    write_whole(out, lambda path: _write_bytes(path, safetensors_bytes(state, meta)))


def write_bare(state: State, meta: Mapping[str, Any], out: Path) -> None:
    """Write weights alone, which other libraries load as they are; safetensors where ``out`` is named so.

    ``model.load_state_dict(torch.load('backbone.pth', weights_only=True))`` is then all there is to do. The metadata
    of a ``.pth`` is in ``<out>.json``, together with the SHA-256 of the weights it belongs to.
    """
    if out.suffix == SAFETENSORS:
        write_safetensors(state, meta, out)
        return
    write_whole(out, lambda path: torch.save(dict(state), path))
    described = {**meta, 'sha256': sha256_of(str(out))}
    beside = out.with_name(out.name + SIDECAR_SUFFIX)
    write_whole(beside, lambda path: _write_bytes(path, json.dumps(described, indent=1).encode()))


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
