"""File names in annotations that would lead out of a dataset's folders."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

from xlearner_mm.errors import SourceError

_FILES = ('img_path', 'xml_path', 'seg_map_path', 'depth_map_path')


def check_paths(source: str, dataset: Any, info: Mapping[str, Any]) -> None:
    """Refuse names in annotations, absolute or with ``..``, that are of files out of the dataset's folders.

    Names alone are compared: links that lie within the folders are whoever made the folders' own.

    Args:
        source: the source's name.
        dataset: its folders are ``data_root`` and those of ``data_prefix``.
        info: annotations of one image.

    Raises:
        SourceError: a file out of them, or a dataset that names no folder.
    """
    folders = folders_of(dataset)
    if not folders:
        raise SourceError(f"source '{source}': strict_paths needs the dataset's data_root")
    for key in _FILES:
        name = info.get(key)
        if isinstance(name, str) and not any(_within(name, folder) for folder in folders):
            raise SourceError(
                f"source '{source}': the annotations name {key} {name!r}, which is out of {' and '.join(folders)}: "
                'correct them, or trust them and set strict_paths=False'
            )


def folders_of(dataset: Any) -> list[str]:
    """Return the folders that a dataset's files are in, as written in its config."""
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    named = [getattr(dataset, 'data_root', None), *(prefixes.values() if isinstance(prefixes, Mapping) else [prefixes])]
    return list(dict.fromkeys(folder for folder in named if isinstance(folder, str) and folder))


def _within(name: str, folder: str) -> bool:
    root = osp.abspath(folder)
    below = osp.abspath(name)
    return below == root or below.startswith(root + osp.sep)
