"""Detection: one form of boxes for COCO, VOC and YOLO, read by the stock ``CocoDataset``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.datasets.integrity.inspection import faulty_boxes
from xlearner_mm.layouts.boxes import Annotated, Boxes, coco_content
from xlearner_mm.layouts.coco import find_coco
from xlearner_mm.layouts.folder import Folder, take_test
from xlearner_mm.layouts.layout import Layout, Objects, Split
from xlearner_mm.layouts.sampling import draw_split, measure_sizes, note_shared_images
from xlearner_mm.layouts.spelling import note_spellings, note_untrained
from xlearner_mm.layouts.voc import find_voc
from xlearner_mm.layouts.yolo import find_yolo
from xlearner_mm.sources import BadData


def recognize_detection(folder: Folder, seed: int) -> Layout | None:
    """Return the layout of images with boxes, or None where there are no labels in a known form."""
    boxes = find_boxes(folder)
    if boxes is None:
        return None
    train, val, from_split = _parts(folder, boxes, seed)
    classes = _trained_classes(folder, boxes.classes, train, val)
    note_spellings(folder, classes)
    train = _of_classes(folder, train, classes)
    files = [each.image for each in train], [each.image for each in val]
    note_shared_images(folder, *files, seed)
    splits = {
        part: _split(folder, part, images, classes, None if from_split else boxes.stock.get(part), from_split)
        for part, images in (('train', train), ('val', val))
    }
    measured = splits['val'].dataset
    return Layout(
        name=folder.source,
        task='det',
        folder=folder.path,
        kind=boxes.kind,
        classes=classes,
        train=splits['train'],
        val=splits['val'],
        evaluator={
            '_scope_': 'mmdet',
            'type': 'CocoMetric',
            'ann_file': os.path.join(measured.get('data_root', ''), measured['ann_file']),
            'metric': 'bbox',
        },
        labels_loading={'with_bbox': True},
        sizes=measure_sizes(folder, *files, seed),
        objects=_objects(train),
    )


def find_boxes(folder: Folder) -> Boxes | None:
    """Return the boxes of a folder, or None where it has none in a known form."""
    return find_coco(folder) or find_voc(folder) or find_yolo(folder)


def _parts(folder: Folder, boxes: Boxes, seed: int) -> tuple[list[Annotated], list[Annotated], bool]:
    """Return the training images with objects, the validation images, and whether these were drawn."""
    if 'train' not in boxes.parts:
        raise folder.refusal(
            f'has labels for {" and ".join(boxes.parts)} alone; expected some to train: name them train, or give the '
            'folder below'
        )
    take_test(folder, boxes.parts)
    if 'test' in boxes.stock:
        boxes.stock.setdefault('val', boxes.stock['test'])
    for part in boxes.parts:
        _leave_out_faulty(folder, boxes, part)
    labeled = boxes.parts['train']
    folder.note_some('training images without objects, left out', [each.image for each in labeled if not each.names])
    train = [each for each in labeled if each.names]
    if 'val' in boxes.parts:
        return train, boxes.parts['val'], False
    drawn = draw_split(folder, [each.image for each in train], seed, _rarest_classes(train))
    return [train[i] for i in drawn[0]], [train[i] for i in drawn[1]], True


def _leave_out_faulty(folder: Folder, boxes: Boxes, part: str) -> None:
    """Leave out training images with impossible boxes, and such boxes of others, as the training does; say so.

    Raises:
        BadImageError: more images have them than ``bad_data`` lets a source skip.
    """
    images = boxes.parts[part]
    faults = [_faults(each) for each in images]
    faulty = [(each, next(iter(found.values()))) for each, found in zip(images, faults, strict=True) if found]
    if not faulty:
        return
    first, fault = faulty[0]
    if len(faulty) > BadData.max_share * len(images):
        raise folder.bad_image(
            first.image,
            f'{fault} ({first.where})',
            f'correct the box, or remove it: {len(faulty):,} of the {len(images):,} images for {part} have such a box, '
            f'and at most {BadData.max_share:.0%} may',
        )
    left_out = 'and are left out' if part == 'train' else 'which are left out'
    folder.notes.append(
        f'{len(faulty):,} of the {len(images):,} images for {part} have impossible boxes, {left_out}: '
        f'{first.image} {fault} ({first.where})'
    )
    boxes.parts[part] = [
        _without(each, found) for each, found in zip(images, faults, strict=True) if part != 'train' or not found
    ]
    boxes.stock.pop(part, None)


def _faults(annotated: Annotated) -> dict[int, str]:
    """Return index -> fault of the boxes that cannot be objects."""
    width, height = annotated.size
    x, y, w, h = annotated.boxes.T
    return faulty_boxes(np.stack([x, y, x + w, y + h], axis=1), height, width)


def _without(annotated: Annotated, faults: Mapping[int, str]) -> Annotated:
    kept = [index for index in range(len(annotated.names)) if index not in faults]
    return replace(
        annotated,
        boxes=annotated.boxes[kept],
        names=[annotated.names[index] for index in kept],
        ignored=[annotated.ignored[index] for index in kept],
    )


def _rarest_classes(images: Sequence[Annotated]) -> list[int]:
    """Return the number of the rarest class of each image, so that a split by it leaves rare classes in both parts."""
    counts = Counter(name for each in images for name in dict.fromkeys(each.counted))
    numbers = {name: number for number, name in enumerate(counts)}
    rarest = [min(each.counted, key=lambda name: (counts[name], name), default='') for each in images]
    return [numbers.get(name, len(numbers)) for name in rarest]


def _trained_classes(
    folder: Folder, classes: Sequence[str], train: Sequence[Annotated], val: Sequence[Annotated]
) -> tuple[str, ...]:
    """Return the classes with training objects that are not ignored, and say which have none."""
    trained = Counter(name for each in train for name in each.counted)
    validated = Counter(name for each in val for name in each.counted)
    ignored = {name for each in train for name in each.names if not trained[name]}
    if not trained:
        held = 'objects in its training images, but all are ignored' if ignored else 'no object in its training images'
        fix = 'set iscrowd, or difficult in VOC, to 0 for those to learn' if ignored else 'check the label files'
        raise folder.refusal(f'has {held}; expected boxes: {fix}')
    folder.note_some(
        'classes whose training objects are all ignored (iscrowd, or difficult in VOC), left out', sorted(ignored)
    )
    for name in [name for name in classes if validated[name] and not trained[name] and name not in ignored]:
        others = [other for other in trained if not validated[other]]
        note_untrained(folder, name, f'{validated[name]:,} object(s)', others)
    without = [name for name in classes if not trained[name] and not validated[name] and name not in ignored]
    folder.note_some('classes without objects, left out', without)
    folder.note_some('classes without validation objects', [n for n in classes if trained[n] and not validated[n]])
    if not any(validated[name] for name in trained):
        raise folder.refusal(f'has no validation object of the trained classes ({shortened(list(trained))}): add some')
    return tuple(name for name in classes if trained[name])


def _of_classes(folder: Folder, images: Sequence[Annotated], classes: Sequence[str]) -> list[Annotated]:
    """Return the training images with objects of the classes, ignored or not, as the stock dataset keeps them."""
    kept = [each for each in images if not set(classes).isdisjoint(each.names)]
    names = [each.image for each in images if set(classes).isdisjoint(each.names)]
    folder.note_some('training images with objects of no class that is learned, left out', names)
    return kept


def _split(
    folder: Folder,
    part: str,
    images: Sequence[Annotated],
    classes: Sequence[str],
    stock: tuple[str, str] | None,
    from_split: bool,
) -> Split:
    settings: dict[str, Any] = {'_scope_': 'mmdet', 'type': 'CocoDataset', 'metainfo': {'classes': tuple(classes)}}
    if stock is not None:
        settings |= {'data_root': folder.at(), 'ann_file': stock[0], 'data_prefix': {'img': stock[1]}}
    else:
        content = json.dumps(coco_content(images, classes), ensure_ascii=False)
        settings |= {'ann_file': folder.write(f'{part}.json', content), 'data_prefix': {'img': folder.at()}}
    settings |= {'filter_cfg': {'filter_empty_gt': True}} if part == 'train' else {'test_mode': True}
    return Split(len(images), settings, from_split)


def _objects(images: Sequence[Annotated]) -> Objects:
    relative = [np.sqrt(each.boxes[:, 2] * each.boxes[:, 3] / np.prod(each.size)) for each in images]
    return Objects(float(np.mean([len(found) for found in relative])), float(np.median(np.concatenate(relative))))
