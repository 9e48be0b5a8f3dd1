"""Recognition of a folder of labeled images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.layouts.classification import find_labeled, recognize_classification
from xlearner_mm.layouts.detection import find_boxes, recognize_detection
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.layout import Layout
from xlearner_mm.layouts.segmentation import find_pairs, recognize_segmentation

_EXPECTED = {
    'cls': 'class folders, or a list of files and labels',
    'det': 'COCO, VOC or YOLO labels',
    'seg': 'a folder of images and one of masks',
}
_RECOGNIZERS: dict[str, Callable[[Folder, int], Layout | None]] = {
    'cls': recognize_classification,
    'det': recognize_detection,
    'seg': recognize_segmentation,
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
        raise opened.refusal(f'does not hold {_EXPECTED[task]}, as --{task} expects{_looks_like(opened, task)}')
    opened.note_some('pictures whose suffix is not read, left out', opened.unread_pictures)
    return replace(layout, folder=Path(folder), notes=tuple(opened.notes))


def _looks_like(folder: Folder, task: str) -> str:
    """Return the end of a message that names the task whose labels a folder holds."""
    finders = {'det': find_boxes, 'seg': find_pairs, 'cls': find_labeled}
    for other, find in finders.items():
        with suppress(SourceError):
            found = find(folder) if other != task else None
            if found is not None:
                kind = getattr(found, 'kind', 'images and masks')
                return f'; it looks like {kind}: give it as --{other} {folder.source}={folder.path}'
    return f': give a folder in one of the layouts of docs/folders.md; at its top are {_top(folder)}'


def _top(folder: Folder) -> str:
    tops = sorted({file.split('/')[0] + ('/' if '/' in file else '') for file in folder.files})
    return shortened(tops, 6)
