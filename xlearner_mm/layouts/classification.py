"""Classification: class folders, and lists of files and labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.layouts.class_folders import Labeled, find_class_folders
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.layout import Layout, Split
from xlearner_mm.layouts.lists import find_lists
from xlearner_mm.layouts.sampling import draw_split, measure_sizes, note_shared_images
from xlearner_mm.layouts.spelling import note_spellings, note_untrained

_READ_IN_FOLDERS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
"""Suffixes that mmpretrain's ``CustomDataset`` finds in class folders."""


def recognize_classification(folder: Folder, seed: int) -> Layout | None:
    """Return the layout of images with one class each, or None where there are no class folders and no list."""
    labeled = find_labeled(folder)
    if labeled is None:
        return None
    train, val = labeled.parts['train'], labeled.parts.get('val')
    classes = labeled.classes or tuple(sorted(set(train.values())))
    if len(classes) < 2:
        fix = 'add one, or move the file away if it states no classes' if labeled.file else 'add one'
        raise folder.refusal(
            f"has images of the class '{classes[0]}' alone; expected at least two classes: {fix}", labeled.file
        )
    note_spellings(folder, classes)
    from_split = val is None
    if val is None:
        images, labels = list(train), [classes.index(name) for name in train.values()]
        train, val = ({images[i]: train[images[i]] for i in part} for part in draw_split(folder, images, seed, labels))
    else:
        val = _of_classes(folder, val, train, classes)
    note_shared_images(folder, train, list(val), seed)
    as_it_is = not from_split and all(
        _is_stock(folder, labeled, part, classes) for part in ('train', 'val') if part in labeled.parts
    )
    splits = [
        _split(folder, part, chosen, classes, labeled.folders.get(part) if as_it_is else None, from_split)
        for part, chosen in (('train', train), ('val', val))
    ]
    return Layout(
        name=folder.source,
        task='cls',
        folder=folder.path,
        kind=labeled.kind,
        classes=classes,
        train=splits[0],
        val=splits[1],
        evaluator={'_scope_': 'mmpretrain', 'type': 'Accuracy', 'topk': (1,)},
        labels_loading={},
        sizes=measure_sizes(folder, list(train), list(val), seed),
    )


def find_labeled(folder: Folder) -> Labeled | None:
    """Return the images with one class each, or None where there are no class folders and no list."""
    return find_lists(folder) or find_class_folders(folder)


def _of_classes(folder: Folder, val: dict[str, str], train: dict[str, str], classes: Sequence[str]) -> dict[str, str]:
    """Return the validation images of classes that are trained."""
    trained, validated = set(train.values()), set(val.values())
    for name in sorted(validated - trained):
        note_untrained(folder, name, f'{Counter(val.values())[name]:,} image(s)', sorted(trained - validated))
    folder.note_some('classes without validation images', sorted(trained - validated))
    kept = {image: name for image, name in val.items() if name in trained}
    if not kept:
        raise folder.refusal(
            f'has no class that is both in training ({shortened(sorted(trained))}) and validation '
            f'({shortened(sorted(validated))}): correct the names, or leave the validation part out'
        )
    return kept


def _is_stock(folder: Folder, labeled: Labeled, part: str, classes: Sequence[str]) -> bool:
    """Return whether mmpretrain reads these class folders as they are, with these labels."""
    root = labeled.folders.get(part)
    if root is None or folder.has_strays(root):
        return False
    below = sorted(entry.name for entry in os.scandir(folder.at(root)) if entry.is_dir())
    return below == list(classes) and all(name.lower().endswith(_READ_IN_FOLDERS) for name in labeled.parts[part])


def _split(
    folder: Folder, part: str, images: dict[str, str], classes: Sequence[str], stock: str | None, from_split: bool
) -> Split:
    settings: dict[str, Any] = {'_scope_': 'mmpretrain', 'type': 'CustomDataset'}
    if stock is not None:
        settings |= {'data_root': folder.at(), 'data_prefix': stock}
    else:
        labels = {name: label for label, name in enumerate(classes)}
        lines = ''.join(f'{image} {labels[name]}\n' for image, name in images.items())
        settings |= {
            'data_prefix': folder.at(),
            'ann_file': folder.write(f'{part}.txt', lines),
            'metainfo': {'classes': tuple(classes)},
        }
    return Split(len(images), settings, from_split)
