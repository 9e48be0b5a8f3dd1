"""iNaturalist 2021: 10,000 species, read from the competition's own json files."""

from __future__ import annotations

import json
from typing import Any

from xlearner_mm.datasets.labeled_images import LabeledImages, choose, require_file
from xlearner_mm.registry import DATASETS


@DATASETS.register_module()
class INat2021(LabeledImages):
    """The iNaturalist 2021 competition set.

        data_root/
          train.json  val.json  (train_mini.json)     COCO-style: images, categories, one annotation per image
          train/00000_Animalia_.../....jpg
          val/00000_Animalia_.../....jpg

    A class is the rank of its category's id; its name is the species'.

    Args:
        data_root: the folder that holds the json files and the image folders.
        split: ``'train'`` (2,686,843 images), ``'train_mini'`` (500,000) or ``'val'`` (100,000).
        kwargs: see :class:`~xlearner_mm.datasets.labeled_images.LabeledImages`.

    Raises:
        ValueError: an unknown split, or annotations of an image or category that the file lacks.
        FileNotFoundError: the split's json file is missing.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        choose('split of iNat2021', split, ('train', 'train_mini', 'val'))
        super().__init__(ann_file=f'{split}.json', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the json file."""
        with open(require_file(self.ann_file, "the competition's annotation archives")) as file:
            content = json.load(file)
        categories = sorted(content['categories'], key=lambda category: category['id'])
        self._set_classes([category['name'] for category in categories])
        labels = {category['id']: label for label, category in enumerate(categories)}
        names = {image['id']: image['file_name'] for image in content['images']}
        try:
            return [self._image(names[a['image_id']], labels[a['category_id']]) for a in content['annotations']]
        except KeyError as error:
            raise ValueError(f'{self.ann_file}: an annotation is of id {error}, which the file does not list') from None
