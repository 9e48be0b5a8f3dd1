"""Base of the classification datasets that no OpenMMLab library has."""

from __future__ import annotations

import os.path as osp
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset


class LabeledImages(BaseDataset):
    """Images with one class each; subclasses implement ``load_data_list``.

    Built with ``_scope_='mmpretrain'``, its pipeline takes mmpretrain's transforms.

    Args:
        ann_file: annotation file within ``data_root``.
        data_root: root folder.
        data_prefix: folder of the images within ``data_root``. Defaults to '': the root itself.
        kwargs: of MMEngine's ``BaseDataset``: ``pipeline``, ``test_mode``, ``indices``, ``lazy_init``, ...
    """

    def __init__(self, ann_file: str, data_root: str, data_prefix: str = '', **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix={'img_path': data_prefix}, **kwargs)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the class of one image as a list, for class-balanced wrappers."""
        return [int(self.get_data_info(idx)['gt_label'])]

    def get_gt_labels(self) -> np.ndarray:
        """Return the classes of all images, ``(len(self),)``."""
        return np.array([self.get_data_info(i)['gt_label'] for i in range(len(self))])

    def _image(self, name: str, label: int) -> dict[str, Any]:
        # Some lists begin names with a slash, which would lead out of the dataset.
        return {'img_path': osp.join(self.data_prefix['img_path'], name.lstrip('/')), 'gt_label': label}

    def _set_classes(self, names: list[str]) -> None:
        self._metainfo.setdefault('classes', tuple(names))


def choose(what: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value``, or raise a ValueError that names ``what`` and the choices."""
    if value not in choices:
        raise ValueError(f"unknown {what} '{value}', choose from {choices}")
    return value


def require_file(path: str, origin: str) -> str:
    """Return ``path``, or raise a FileNotFoundError that names the ``origin`` of the file."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'{path} does not exist: it is in {origin}')
    return path
