"""What a file in COCO's form may not hold: mmdet's reader leaves it out, and says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from xlearner_mm.datasets.integrity.boxes import faulty_boxes


def refuse_lost_images(content: Mapping[str, Any], annotated: bool) -> None:
    """Refuse a file of which images or all objects would be lost.

    Args:
        content: of the file.
        annotated: whether it must hold annotations.

    Raises:
        ValueError: it has none, or two images of one id.
    """
    if annotated and 'annotations' not in content:
        raise ValueError("has no 'annotations'")
    twice = [key for key, count in Counter(image['id'] for image in content.get('images', ())).items() if count > 1]
    if twice:
        raise ValueError(f'has {len(twice):,} image ids that several images share, such as {twice[0]!r}')


def unlisted_images(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and fault of the images that have annotations, but are not among the file's images."""
    listed = {image['id'] for image in content.get('images', ())}
    unlisted = Counter(found['image_id'] for found in content.get('annotations', ()) if found['image_id'] not in listed)
    for key, count in unlisted.items():
        yield f'image of id {key!r}', f"has {count:,} annotation(s), but is not among the file's images"


def faulty_objects(raw: Mapping[str, Any], categories: Collection[int]) -> dict[int, str]:
    """Return index -> what is wrong of the objects of one image that cannot be ones.

    Those that the file itself calls ignored are left to be so; those without a box are the reader's to refuse.

    Args:
        raw: ``raw_img_info`` and ``raw_ann_info`` of one image.
        categories: ids of all categories of the file.
    """
    image = raw['raw_img_info']
    found = [(i, o) for i, o in enumerate(raw['raw_ann_info']) if 'bbox' in o and not o.get('ignore', False)]
    if not found:
        return {}
    boxes = np.array([(x, y, x + w, y + h) for _, o in found for x, y, w, h in [o['bbox']]], dtype=np.float64)
    faults = {found[row][0]: fault for row, fault in faulty_boxes(boxes, image['height'], image['width']).items()}
    for index, described in found:
        if described['category_id'] not in categories:
            faults[index] = f'has an object of category {described["category_id"]}, which its file does not define'
        elif described['area'] <= 0:
            faults.setdefault(index, f'has an object whose area is {described["area"]:g}')
    return faults


def unread_objects(
    raw: Mapping[str, Any], wanted: Collection[int], categories: Mapping[int, Mapping[str, Any]]
) -> Iterator[str]:
    """Yield what each object of an image is that the reader leaves out for good reason: unwanted, or too small.

    Args:
        raw: as for :func:`faulty_objects`.
        wanted: ids of the categories that are classes.
        categories: id -> category, of the file.
    """
    for found in raw['raw_ann_info']:
        if 'bbox' not in found or found.get('ignore', False):
            continue
        if found['category_id'] not in wanted:
            yield f"'{categories[found['category_id']]['name']}'"
        elif min(found['bbox'][2:]) < 1:
            yield 'less than a pixel wide or high'
