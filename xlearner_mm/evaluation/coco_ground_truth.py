"""Ground truth in COCO's form, made ready for a stock metric before the first step, or refused."""

from __future__ import annotations

import math
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from xlearner_mm.datasets.classes import labels_of_categories
from xlearner_mm.datasets.integrity.annotations import refuse_lost_images
from xlearner_mm.spread import spread

_POLYGON = 6
"""Numbers of the smallest polygon, which has three points."""


def prepare_ground_truth(metric: Any, classes: Sequence[str]) -> None:
    """Make a metric that reads a COCO file count every object, under the class of its name.

    What has one meaning only is put right in memory: annotations are numbered from 1 (pycocotools takes an object of id
    0 for one that was not found), and those that do not say are no crowd, as mmdet's data sets take them. What cannot
    be measured is refused; pycocotools would end a training at its first validation.

    Args:
        metric: any; those without such a file are left alone.
        classes: names of the classes that predictions are labels of.

    Raises:
        ValueError: categories or annotations that the metric cannot use.
    """
    api = _annotations_of(metric)
    if api is None:
        return
    content = api.dataset
    refuse_lost_images(content, annotated=not getattr(metric, 'format_only', False))
    ids = _order_categories(api, classes)
    if getattr(metric, 'classwise', False) and ids != sorted(ids, key=_by_kind):
        raise ValueError(
            'its category ids are not in the order of the classes, and classwise=True would name the numbers of some '
            'classes after others: name the classes in the order of the ids, or set classwise=False'
        )
    if any('segments_info' in found for found in content.get('annotations', ())):
        return
    _refuse_unlike_ids([image['id'] for image in content['images']], 'images')
    _refuse_unlike_ids(ids, 'categories')
    masks = 'segm' in getattr(metric, 'metrics', ())
    annotations = content.get('annotations', ())
    for number, annotation in enumerate(annotations, 1):
        annotation.setdefault('iscrowd', 0)
        fault = next(_faults(annotation, api.imgs.get(annotation['image_id'], {}), masks), None)
        if fault is not None:
            raise ValueError(f'annotation {annotation["id"]!r} of image {annotation["image_id"]!r} {fault}')
        annotation['id'] = number
    api.anns = {annotation['id']: annotation for annotation in annotations}
    if not getattr(metric, 'format_only', False) and not any(found['category_id'] in ids for found in annotations):
        raise ValueError('it has no object of its classes: nothing can be measured')


def compare_images(metric: Any, parts: Sequence[BaseDataset]) -> str | None:
    """Measure on the images of a data set alone, and refuse a metric that has other images under their ids.

    Args:
        metric: one whose ground truth is loaded; metrics without a COCO file are not changed.
        parts: the data sets of files that predictions are made for.

    Returns:
        What is worth knowing: images of the file that are not in the data set, which do not count. None if all are.

    Raises:
        ValueError: an image that the file does not have, or that is another one there.
    """
    api = _annotations_of(metric)
    if api is None:
        return None
    seen = set()
    for info in (part.get_data_info(index) for part in parts for index in range(len(part))):
        if 'img_id' not in info:
            return None
        key, name = info['img_id'], osp.basename(str(info.get('img_path', '')))
        if key not in api.imgs:
            raise ValueError(f'has no image of id {key!r}, which the data set has ({name}): name the same file in both')
        named = osp.basename(str(api.imgs[key].get('file_name', name)))
        if named != name:
            raise ValueError(f'image {key!r} is {named}, but in the data set {name}: name the same file in both')
        seen.add(key)
    others = len(api.imgs) - len(seen)
    if not others:
        return None
    metric.img_ids = [key for key in api.imgs if key in seen]
    return f'{others:,} of the {len(api.imgs):,} images of its val_evaluator are not in its data set, and do not count'


def perfect_results(metric: Any, results: Sequence[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    """Return what a ``CocoMetric`` collects of a detector that is right about everything.

    Args:
        metric: one whose ground truth is loaded.
        results: what it has collected of some images; without a file, their annotations are in it.

    Returns:
        The same of up to four images with objects; none where masks would have to be made of a data set's.
    """
    api = _annotations_of(metric)
    if api is None:
        if 'segm' in metric.metrics:
            return []
        truth = [(gt, gt['anns']) for gt, _ in results]
        return [
            (gt, _perfect(gt, [found['bbox'] for found in objects], [found['bbox_label'] for found in objects]))
            for gt, objects in truth
        ]
    labels = {key: label for label, key in enumerate(api.get_cat_ids(cat_names=metric.dataset_meta['classes']))}
    keys = metric.img_ids or list(api.imgs)
    objects_of = {key: [o for o in api.img_ann_map[key] if o['category_id'] in labels] for key in keys}
    with_objects = [key for key in keys if objects_of[key]]
    perfect = []
    for key in (with_objects[place] for place in spread(len(with_objects), 4)):
        objects = objects_of[key]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (found['bbox'] for found in objects)]
        gt = {'img_id': key, 'width': api.imgs[key].get('width'), 'height': api.imgs[key].get('height')}
        result = _perfect(gt, boxes, [labels[found['category_id']] for found in objects])
        if 'segm' in metric.metrics:
            result['masks'] = [dict(api.annToRLE(found)) for found in objects]
        perfect.append((gt, result))
    return perfect


def _perfect(gt: Mapping[str, Any], boxes: Sequence[Any], labels: Sequence[int]) -> dict[str, Any]:
    return {
        'img_id': gt['img_id'],
        'bboxes': np.array(boxes, dtype=np.float64).reshape(-1, 4),
        'scores': np.ones(len(boxes)),
        'labels': np.array(labels, dtype=int),
    }


def _annotations_of(metric: Any) -> Any:
    """The object by which a metric of mmdet holds a file in COCO's form; LVIS is of the same form."""
    return getattr(metric, '_coco_api', None) or getattr(metric, '_lvis_api', None)


def _order_categories(api: Any, classes: Sequence[str]) -> list[Any]:
    """Put the classes' categories first and in their order, one for each, and return their ids."""
    listed = list(api.dataset.get('categories') or ())
    ids = {label: key for key, label in labels_of_categories(listed, classes).items()}
    categories = {category['id']: category for category in listed}
    numbers = [key for key in categories if isinstance(key, int)]
    for label, name in enumerate(classes):
        if label not in ids:  # no object has it, but predictions do
            ids[label] = (
                f'no category: {name}' if len(numbers) < len(categories) else max(numbers, default=0) + 1 + label
            )
            categories[ids[label]] = {'id': ids[label], 'name': name}
    ordered = [ids[label] for label in range(len(classes))]
    api.cats = {key: categories[key] for key in [*ordered, *(key for key in categories if key not in set(ordered))]}
    api.dataset['categories'] = list(api.cats.values())
    return ordered


def _by_kind(key: Any) -> tuple[str, Any]:
    return type(key).__name__, key


def _refuse_unlike_ids(ids: list[Any], kind: str) -> None:
    """NumPy sorts the ids, and makes one kind of numbers of them."""
    try:
        kept = set(np.unique(ids).tolist()) == set(ids)
    except TypeError:
        kept = False
    if not kept:
        odd = next((key for key in ids if type(key) is not type(ids[0])), max(ids, key=str))
        raise ValueError(f'the ids of its {kind} are not all whole numbers, or all texts: {ids[0]!r} and {odd!r}')


def _faults(annotation: Mapping[str, Any], image: Mapping[str, Any], masks: bool) -> Iterator[str]:
    if not isinstance(annotation['iscrowd'], (int, float)):
        yield f'has iscrowd={annotation["iscrowd"]!r}: it must be 0 or 1'
    for key, count in (('area', None), ('bbox', 4)):
        value = annotation.get(key)
        numbers: Any = [value] if count is None else value
        if not _are_numbers(numbers) or len(numbers) != (count or 1):
            yield f'has {key}={value!r}: it must be {"one number" if count is None else f"{count} numbers"}'
    if masks:
        yield from _mask_faults(annotation.get('segmentation'), image)


def _mask_faults(mask: Any, image: Mapping[str, Any]) -> Iterator[str]:
    size = [image.get('height'), image.get('width')]
    if image and not _are_numbers(size):
        yield f'has a mask, but its image no height or width ({size})'
    if isinstance(mask, Mapping):
        counts = mask.get('counts')
        if list(mask.get('size', ())) != size:
            yield f'has a mask of (height, width) = {mask.get("size")}, but its image {size}'
        elif isinstance(counts, list) and (not _are_numbers(counts) or sum(counts) != math.prod(size)):
            yield f'has a mask whose run lengths do not add up to {size[0]} x {size[1]} pixels'
        elif not isinstance(counts, (list, str, bytes)) or not counts:
            yield 'has a mask without run lengths'
    elif not isinstance(mask, list) or not mask:
        yield 'has no segmentation, which segm needs'
    else:
        for polygon in mask:
            if not _are_numbers(polygon) or len(polygon) < _POLYGON or len(polygon) % 2:
                yield f'has a polygon that is not the x and y of three points or more: {polygon!r:.60}'


def _are_numbers(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )
