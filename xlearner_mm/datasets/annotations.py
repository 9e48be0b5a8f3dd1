"""Read all annotations of a source."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.errors import SourceError
from xlearner_mm.datasets.guarded_parsing import GuardedParsing, told_with_file
from xlearner_mm.datasets.source import Source


def read_annotations(source: Source, dataset: Any, parts: list[BaseDataset], whole: bool = False) -> dict[str, str]:
    """Read all annotations of a source.

    Args:
        source: the source.
        dataset: its dataset, wrappers included.
        parts: the datasets of files within it.
        whole: keep images with objects that cannot be ones, and leave out these objects. Defaults to False.

    Returns:
        Path -> reason of the images that were left out.

    Raises:
        SourceError: an annotation file that cannot be read.
    """
    bad: dict[str, str] = {}
    for part in parts:
        if part._fully_initialized:
            continue
        try:
            with GuardedParsing(source, part, bad, whole).in_place():
                part.full_init()
        except SourceError:
            raise
        except Exception as error:
            raise ValueError(told_with_file(error, part)) from error
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return bad
