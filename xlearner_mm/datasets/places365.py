"""Places365: 365 scenes, read from the official lists."""

from __future__ import annotations

import os.path as osp
from typing import Any

from xlearner_mm.datasets.labeled_images import LabeledImages, choose, require_file
from xlearner_mm.registry import DATASETS


@DATASETS.register_module()
class Places365(LabeledImages):
    """The Places365 sets, standard and challenge.

        data_root/
          categories_places365.txt                    /a/airfield 0
          places365_train_challenge.txt               /a/airfield/00000001.jpg 0
          places365_train_standard.txt
          places365_val.txt                           Places365_val_00000001.jpg 165
          data_256/a/airfield/00000001.jpg            (or data_large/)
          val_256/Places365_val_00000001.jpg          (or val_large/)

    The lists' names of training images begin with a slash, which is why mmpretrain's ``CustomDataset`` does not
    read them.

    Args:
        data_root: the folder that holds the lists and the image folders.
        split: ``'train'`` or ``'val'`` (36,500 images).
        variant: of the training images: ``'standard'`` (1,803,460) or ``'challenge'`` (8,026,628).
        size: ``'256'`` for the images of 256 x 256, ``'large'`` for the originals. Defaults to ``'256'``.
        kwargs: see :class:`~xlearner_mm.datasets.labeled_images.LabeledImages`.

    Raises:
        ValueError: an unknown split, variant or size, or a line that is not ``NAME CLASS``.
        FileNotFoundError: a list is missing.
    """

    def __init__(
        self, data_root: str, split: str = 'train', variant: str = 'standard', size: str = '256', **kwargs: Any
    ) -> None:
        choose('split of Places365', split, ('train', 'val'))
        choose('variant of Places365', variant, ('standard', 'challenge'))
        choose('size of Places365', size, ('256', 'large'))
        images, suffix = ('data', f'train_{variant}') if split == 'train' else ('val', 'val')
        self._categories_file = osp.join(data_root, 'categories_places365.txt')
        super().__init__(
            ann_file=f'places365_{suffix}.txt', data_root=data_root, data_prefix=f'{images}_{size}', **kwargs
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the categories and the list."""
        categories = sorted(_read_list(self._categories_file), key=lambda pair: pair[1])
        self._set_classes([name.lstrip('/').split('/', 1)[1] for name, _ in categories])
        return [self._image(name, label) for name, label in _read_list(self.ann_file)]


def _read_list(path: str) -> list[tuple[str, int]]:
    with open(require_file(path, "the official 'filelist' archive of Places365")) as file:
        lines = file.read().splitlines()
    pairs = []
    for number, line in enumerate(lines, 1):
        name, _, label = line.rpartition(' ')
        if not name or not label.isdecimal():
            raise ValueError(f"{path}, line {number}: expected 'NAME CLASS', got {line!r}")
        pairs.append((name, int(label)))
    return pairs
