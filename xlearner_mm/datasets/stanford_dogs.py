"""Stanford Dogs: 120 breeds, read from the official .mat lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from xlearner_mm.datasets.labeled_images import LabeledImages, choose, require_file
from xlearner_mm.registry import DATASETS


@DATASETS.register_module()
class StanfordDogs(LabeledImages):
    """The Stanford Dogs set.

        data_root/
          train_list.mat  test_list.mat               file_list, annotation_list, labels (1 to 120)
          Images/n02085620-Chihuahua/n02085620_5927.jpg

    Args:
        data_root: the folder that holds the lists and ``Images``.
        split: ``'train'`` (12,000 images) or ``'test'`` (8,580).
        kwargs: see :class:`~xlearner_mm.datasets.labeled_images.LabeledImages`.

    Raises:
        ValueError: an unknown split, or a list whose names and labels differ in number.
        FileNotFoundError: the split's list is missing.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        choose('split of Stanford Dogs', split, ('train', 'test'))
        super().__init__(ann_file=f'{split}_list.mat', data_root=data_root, data_prefix='Images', **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list; the name of a class is that of its folder, without the synset."""
        from scipy.io import loadmat  # type: ignore[import-untyped]

        content = loadmat(require_file(self.ann_file, "the official 'lists' archive"), squeeze_me=True)
        files = [str(name) for name in np.atleast_1d(content['file_list'])]
        labels = [int(label) - 1 for label in np.atleast_1d(content['labels'])]
        if len(files) != len(labels):
            raise ValueError(f'{self.ann_file}: {len(files)} files, but {len(labels)} labels')
        breeds = {label: name.split('/')[0].split('-', 1)[-1] for name, label in zip(files, labels, strict=True)}
        self._set_classes([breeds[label] for label in sorted(breeds)])
        return [self._image(name, label) for name, label in zip(files, labels, strict=True)]
