"""Whose fault it is that an image cannot be used: its own, or that of the settings, which every image shows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmengine import fileio
from PIL import Image

from xlearner_mm.datasets.integrity.inspection import Damage, Mismatch
from xlearner_mm.datasets.stream_index import StreamIndex
from xlearner_mm.errors import SourceError, bad_image, describe_error, one_line
from xlearner_mm.spread import spread

WITNESSES = 20
"""Further images that are tried before the settings are blamed."""
_LACKING = {
    'mask': "an object without 'segmentation'; load no masks, or annotate them",
    'gt_label': 'images without labels',
    'inputs': 'no image is packed; its input_key names none that the pipeline gives',
    'seg_map_path': 'images without label maps; set data_prefix=dict(seg_map_path=...)',
}
"""What a pipeline misses -> what the annotations lack."""
_OF_ONE_IMAGE = re.compile(r'\S*/\S*|[-+]?\d[\d.,e+-]*')


class ImageFault(Exception):
    """How one image fails.

    Args:
        reason: what is wrong; goes on from the image's path.
        error: the exception that tells of it.
        place: the transform that raised it; '' where the image is not what its annotations say, or none is known.
        own: whether its file alone is to blame, so that no other image need be tried. Defaults to False.
        loaded: whether the transform had an image that was loaded. Defaults to False.
    """

    def __init__(self, reason: str, error: Exception, place: str = '', own: bool = False, loaded: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.error, self.place, self.own, self.loaded = reason, error, place, own, loaded

    @property
    def kind(self) -> tuple[str, str]:
        """What images that fail alike have in common: the place and the reason, without paths and numbers."""
        what = type(self.origin).__name__ if self.place else _OF_ONE_IMAGE.sub('', self.reason)
        return self.place, what

    @property
    def origin(self) -> BaseException:
        """The exception of the transform, where ours only names a file beside it."""
        return self.error.__cause__ or self.error if isinstance(self.error, Mismatch) else self.error


def fault_of(
    error: Exception, path: str, place: str = '', loaded: bool = False, backend_args: Any = None
) -> ImageFault:
    """Return how an image fails by the exception that its pipeline ended with.

    Args:
        error: the exception.
        path: of the image.
        place: the transform that raised it. Defaults to '': none, or it is not known.
        loaded: whether the image had been loaded by then. Defaults to False.
        backend_args: of the file backend of the image. Defaults to None.
    """
    if isinstance(error, Mismatch):
        return ImageFault(str(error), error, place, own=isinstance(error, Damage))
    if loaded:
        return ImageFault(f'fails in {place}, which other images pass: {_told(error)}', error, place, loaded=True)
    return ImageFault(f'cannot be read: {one_line(error)}', error, place, own=_is_unreadable(path, backend_args))


@dataclass
class Witnesses:
    """Other images of a source, spread evenly over it, that say whether a fault is one image's or all images'.

    What they say depends on the source alone: every process and every resumed training comes to the same verdict.

    Args:
        source: the source's name.
        length: how many images it has.
        read: reads one image, as the training does; raises :class:`ImageFault` where it fails.
    """

    source: str
    length: int
    read: Callable[[int], Any]

    def __post_init__(self) -> None:
        self._found: dict[int, tuple[str, str] | None] = {}

    def verdict(self, index: int, path: str, fault: ImageFault) -> SourceError:
        """Return the error of a fault: a :class:`BadImageError` of the image, or one that blames the settings.

        Args:
            index: of the image.
            path: of the image.
            fault: how it fails.
        """
        others = [i for i in spread(self.length, WITNESSES) if i != index]
        if fault.own or not self._is_shared(fault, others):
            return bad_image(self.source, path, fault.reason)
        what = f'{fault.place} fails: {_told(fault.origin)}' if fault.place else f'{path} {fault.reason}'
        tried = len(others) + 1
        missing = isinstance(fault.origin, FileNotFoundError)
        whose = (
            'the dataset (data_root, data_prefix, suffixes)'
            if missing
            else fault.place or 'the dataset or its pipeline'
        )
        return SourceError(
            f"source '{self.source}': {what}; so it is with every image tried, {tried} of {tried} (one is {path}): no "
            f'file is to blame, but the settings of {whose}'
        )

    def _is_shared(self, fault: ImageFault, others: list[int]) -> bool:
        # Of a single image, what fails after it has been loaded is none of its file's doing.
        return all(self._agrees(i, fault) for i in others) if others else fault.loaded

    def _agrees(self, index: int, fault: ImageFault) -> bool:
        if index not in self._found:
            try:
                with StreamIndex(index, (0, self.source, index)).seeded():
                    self.read(index)
                self._found[index] = None
            except ImageFault as found:
                self._found[index] = None if found.own else found.kind
            except (SourceError, MemoryError):
                self._found[index] = None
        return self._found[index] == fault.kind


def place_of(transform: Any, number: int) -> str:
    """Return what messages call a transform: its class and its place in the pipeline."""
    return f'transform {type(transform).__name__} (pipeline[{number}])'


def _told(error: BaseException) -> str:
    """Kind and message of an exception; of a missing key, what the annotations lack."""
    lacking = _LACKING.get(error.args[0]) if isinstance(error, KeyError) and error.args else None
    return describe_error(error) + (f' ({lacking})' if lacking else '')


def _is_unreadable(path: str, backend_args: Any) -> bool:
    """Whether a file is there, but is no picture."""
    try:
        content = fileio.get(path, backend_args=backend_args)
    except Exception:  # whatever a backend raises: a missing file may be a wrong folder's
        return False
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    except Image.DecompressionBombError:
        pass
    return False
