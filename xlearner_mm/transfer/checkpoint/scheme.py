"""Let all of MMEngine read safetensors: stock backbones' ``init_cfg`` and a training's ``load_from`` too."""

from __future__ import annotations

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
