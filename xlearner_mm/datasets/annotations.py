"""Read a stock dataset's annotations, and name the file where one image's cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.errors import SourceError, bad_image
from xlearner_mm.datasets.paths import check_paths
from xlearner_mm.datasets.source import Source

_DROPPED: list = []
"""Stands for an image whose annotations cannot be read."""
_LONGEST = 300  # characters of annotations that name no file


@contextmanager
def guarded_parsing(source: Source, dataset: BaseDataset, bad: dict[str, str]) -> Iterator[None]:
    """Within it, ``dataset.full_init`` leaves out images of unreadable annotations, or names the first.

    Args:
        source: its ``bad_data`` says which of the two, and how many may be left out.
        dataset: one that has not read its annotations yet.
        bad: takes path -> reason of those left out.

    Raises:
        BadImageError: with ``policy='error'``, by ``full_init``.
        SourceError: more are unreadable than may be left out.
    """
    parse, load = dataset.parse_data_info, dataset.load_data_list

    def parse_data_info(raw: Mapping[str, Any]) -> Any:
        if source.strict_paths:
            check_paths(source.name, dataset, raw)
        path = _described(raw)  # some datasets empty what they are given
        try:
            return parse(raw)
        except Exception as error:  # whatever a stock dataset raises on foreign annotations
            reason = f'has annotations that cannot be read: {_told(error, dataset)}'
            if not source.bad_data.skips:
                raise bad_image(source.name, path, reason) from error
            bad[path] = reason
            return _DROPPED

    def load_data_list() -> list[dict]:
        items = load()
        kept = [item for item in items if item is not _DROPPED]
        if bad:
            source.bad_data.refuse_more(source.name, bad, len(kept) + len(bad))
        return kept

    dataset.parse_data_info, dataset.load_data_list = parse_data_info, load_data_list
    try:
        yield
    finally:
        del dataset.parse_data_info, dataset.load_data_list


def read_annotations(source: Source, dataset: Any, parts: list[BaseDataset]) -> dict[str, str]:
    """Read all annotations of a source.

    Args:
        source: the source.
        dataset: its dataset, wrappers included.
        parts: the datasets of files within it.

    Returns:
        Path -> reason of the images that were left out, see :func:`guarded_parsing`.

    Raises:
        SourceError: an annotation file that cannot be read.
    """
    bad: dict[str, str] = {}
    for part in parts:
        if part._fully_initialized:
            continue
        try:
            with guarded_parsing(source, part, bad):
                part.full_init()
        except SourceError:
            raise
        except Exception as error:
            raise ValueError(_told(error, part)) from error
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return bad


def _told(error: Exception, dataset: BaseDataset) -> str:
    where = f' ({dataset.ann_file})' if dataset.ann_file else ''
    return f'{type(error).__name__}: {error}{where}'


def _described(raw: Mapping[str, Any]) -> str:
    image = raw.get('raw_img_info', raw)
    names = (
        [image.get(key) for key in ('xml_path', 'img_path', 'file_name', 'id')] if isinstance(image, Mapping) else []
    )
    return str(next((name for name in names if name is not None), raw))[:_LONGEST]
