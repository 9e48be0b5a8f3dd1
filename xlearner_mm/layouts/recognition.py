"""Recognition of a folder of labeled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xlearner_mm.errors import ConfigError
from xlearner_mm.layouts.classification import recognize_classification
from xlearner_mm.layouts.detection import recognize_detection
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.layout import Layout

_RECOGNIZERS: dict[str, Callable[[Folder, int], Layout | None]] = {
    'cls': recognize_classification,
    'det': recognize_detection,
}


def recognize(task: str, name: str, folder: str | Path, out: str | Path, seed: int = 0) -> Layout:
    """Recognize what labeled images a folder holds.

    Labels that no stock dataset reads as they are get an index below ``out/sources/<name>/``: lists of files, or boxes
    in a COCO file. The same folder gives the same files.

    Args:
        task: ``'cls'``, ``'det'`` or ``'seg'``.
        name: of the source.
        folder: with the images and labels, in one of the layouts of ``docs/folders.md``.
        out: folder of the training's files.
        seed: of the split where the folder has no validation part, and of samples. Defaults to 0.

    Raises:
        SourceError: nothing of the task is there, or labels contradict each other or the images.
        BadImageError: an image cannot be used.
    """
    if task not in _RECOGNIZERS:
        raise ConfigError(f"unknown task '{task}', choose from {tuple(_RECOGNIZERS)}")
    opened = Folder.open(name, folder, Path(out) / 'sources' / name)
    layout = _RECOGNIZERS[task](opened, seed)
    if layout is None:
        raise opened.refusal(f'holds nothing for --{task}')
    return replace(layout, folder=Path(folder), notes=tuple(opened.notes))
