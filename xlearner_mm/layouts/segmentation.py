"""Segmentation: images and masks."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.layouts.folder import Folder, key_of, place, take_test
from xlearner_mm.layouts.image_sets import listed_parts
from xlearner_mm.layouts.layout import Layout, Split
from xlearner_mm.layouts.masks import MaskClasses, classes_of_masks
from xlearner_mm.layouts.sampling import draw_split, measure_sizes, note_shared_images, sample

_BESIDE = re.compile(r'.*[_-](?:mask|masks|label|labels|seg|gt)', re.IGNORECASE)
"""Stem of a mask beside its image."""
_PROBED = 50
_PREFERRED = re.compile(r'train_?ids', re.IGNORECASE)


def recognize_segmentation(folder: Folder, seed: int) -> Layout | None:
    """Return the layout of images and masks, or None where there are no masks."""
    pairs = find_pairs(folder)
    if pairs is None:
        return None
    parts = _parts(folder, pairs)
    take_test(folder, parts)
    if 'train' not in parts:
        raise folder.refusal(f'has masks for {" and ".join(parts)} alone; expected some to train: name them train')
    train, val = parts['train'], parts.get('val')
    from_split = val is None
    if val is None:
        train, val = ([train[i] for i in part] for part in draw_split(folder, train, seed))
    of_train, of_val = ({image: pairs[image] for image in images} for images in (train, val))
    classes = classes_of_masks(folder, of_train, of_val, seed)
    note_shared_images(folder, train, val, seed)
    splits = [
        Split(len(masks), _dataset(folder, part, masks, classes), from_split)
        for part, masks in (('train', of_train), ('val', of_val))
    ]
    return Layout(
        name=folder.source,
        task='seg',
        folder=folder.path,
        kind='images and masks',
        classes=classes.names,
        train=splits[0],
        val=splits[1],
        evaluator={'_scope_': 'mmseg', 'type': 'IoUMetric', 'iou_metrics': ['mIoU']},
        labels_loading={},
        sizes=measure_sizes(folder, train, val, seed),
    )


def find_pairs(folder: Folder) -> dict[str, str] | None:
    """Return image -> mask, or None where there are no masks.

    Masks are in a folder called so, or beside the images and called ``<image>_mask`` or alike.

    Raises:
        SourceError: masks of which none is named as an image, or several kinds of them; two images of one mask, or two
            masks of one image.
    """
    roles = {image: place(os.path.dirname(image)).role for image in folder.images}
    masks = [image for image, role in roles.items() if role == 'label']
    images = [image for image, role in roles.items() if role == 'image'] or [i for i, r in roles.items() if r is None]
    if not masks:
        masks = [image for image in images if _BESIDE.fullmatch(os.path.splitext(image)[0])]
        images = sorted(set(images) - set(masks))
    if not masks or not images:
        return None
    for tail in dict.fromkeys(['', _common_tail(images)]):
        of_mask = _tail_of_masks(folder, images, masks, tail)
        if of_mask is None:
            continue
        keys = {mask: key_of(mask, of_mask) for mask in masks if os.path.splitext(mask)[0].endswith(of_mask)}
        by_key = {key: mask for mask, key in keys.items()}
        pairs = {image: by_key[key] for image in images if (key := key_of(image, tail)) in by_key}
        _refuse_twins(folder, pairs, {mask: by_key[key] for mask, key in keys.items()})
        folder.note_some('images without mask, left out', [image for image in images if image not in pairs])
        paired = set(pairs.values())
        folder.note_some('masks without image, left out', [mask for mask in keys if mask not in paired])
        return pairs
    raise folder.refusal(
        f'holds {len(images):,} images ({shortened(images, 1)}) and {len(masks):,} masks ({shortened(masks, 1)}), but '
        'no mask is named as an image; expected the same names, or the same with an end such as _mask: rename the masks'
    )


def _refuse_twins(folder: Folder, pairs: Mapping[str, str], taken: Mapping[str, str]) -> None:
    """Refuse images of one mask and masks of one image; ``taken`` is mask -> the mask of the same key in pairs."""
    image_of: dict[str, str] = {}
    for image, mask in pairs.items():
        other = image_of.setdefault(mask, image)
        if other != image:
            raise folder.refusal(f'holds {other} and {image}, and one mask is for both: rename or remove one')
    for mask, other in taken.items():
        if mask != other and other in image_of:
            raise folder.refusal(
                f'holds {mask} and {other}, and both are masks of {image_of[other]}; expected one: move the other away'
            )


def _common_tail(images: Sequence[str]) -> str:
    """Return the last word of all images' names, such as ``_leftImg8bit``; '' where they share none."""
    found = re.search(r'[_\-. ][A-Za-z]\w*?$', os.path.splitext(images[0])[0])
    tail = found[0] if found else ''
    return tail if all(os.path.splitext(image)[0].endswith(tail) for image in images) else ''


def _tail_of_masks(folder: Folder, images: Sequence[str], masks: Sequence[str], tail: str) -> str | None:
    """Return what the names of masks have more than those of their images, or None where no mask fits."""
    by_folder = defaultdict(list)
    for mask in masks:
        key = key_of(mask)
        by_folder[os.path.dirname(key)].append(key)
    tails = Counter[str]()
    for image in sample(images, _PROBED, 0):
        key = key_of(image, tail)
        ends = {other.removeprefix(key) for other in by_folder[os.path.dirname(key)] if other.startswith(key)}
        tails.update(end for end in ends if end == '' or not end[0].isalnum())
    if not tails or '' in tails:
        return '' if tails else None
    most = [end for end, count in tails.items() if count == max(tails.values())]
    preferred = [end for end in most if _PREFERRED.search(end)] or most
    if len(preferred) > 1:
        raise folder.refusal(
            f'holds several masks for each image, ending in {shortened(sorted(preferred), 6)}; expected one: move the '
            'others out of the folder'
        )
    return preferred[0]


def _parts(folder: Folder, pairs: Mapping[str, str]) -> dict[str, list[str]]:
    """Return part -> images, by VOC's lists or by the names of folders."""
    listed = listed_parts(folder, 'Segmentation', list(pairs), 'images with masks', 'no image or no mask')
    parts: dict[str, list[str]] = {}
    for image in pairs:
        part = place(os.path.dirname(image)).part or 'train' if listed is None else listed.get(image)
        if part is not None:
            parts.setdefault(part, []).append(image)
    return parts


def _dataset(folder: Folder, part: str, pairs: Mapping[str, str], classes: MaskClasses) -> dict[str, Any]:
    """Return the config of the stock dataset, or of one for each kind of names."""
    groups: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for image, mask in pairs.items():
        form, name = _form(image, mask)
        groups[form].append(name)
    common: dict[str, Any] = {'type': 'BaseSegDataset', 'metainfo': {'classes': classes.names}}
    common |= {'reduce_zero_label': True} if classes.zero_is_none else {}
    common |= {'test_mode': True} if part == 'val' else {}
    found = []
    for number, (form, names) in enumerate(groups.items()):
        file = f'{part}.txt' if len(groups) == 1 else f'{part}_{number}.txt'
        found.append({**common, **_files(folder, file, form, names)})
    if len(found) == 1:
        return {'_scope_': 'mmseg', **found[0]}
    return {'_scope_': 'mmseg', 'type': 'ConcatDataset', 'datasets': found}


def _form(image: str, mask: str) -> tuple[tuple[str, str, str, str], str]:
    """Return folder and suffix of an image, folder and suffix of its mask, and the name that both share between."""
    (folder, file), (of_mask, mask_file) = os.path.split(image), os.path.split(mask)
    stems = os.path.splitext(file)[0], os.path.splitext(mask_file)[0]
    stem = ''.join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*stems, strict=False)))
    folders, of_masks = folder.split('/'), of_mask.split('/')
    shared: list[str] = []
    while folders and of_masks and folders[-1] == of_masks[-1]:
        shared.insert(0, folders.pop())
        of_masks.pop()
    form = '/'.join(folders), file.removeprefix(stem), '/'.join(of_masks), mask_file.removeprefix(stem)
    return form, '/'.join([*shared, stem])


def _files(folder: Folder, file: str, form: tuple[str, str, str, str], names: Sequence[str]) -> dict[str, Any]:
    """Return where the stock dataset finds these images: all of a folder, or those of a list."""
    root, suffix, of_masks, mask_suffix = form
    settings = {'img_suffix': suffix, 'seg_map_suffix': mask_suffix}
    below = os.path.commonpath([os.path.dirname(name) for name in names])
    start = '/'.join(filter(None, [root, below]))
    found = {path for path in folder.files if path.endswith(suffix) and path.startswith(f'{start}/' if start else '')}
    whole = found == {f'{root}/{name}{suffix}' if root else f'{name}{suffix}' for name in names}
    if whole and not folder.has_strays(start):
        prefixes = {'img_path': start, 'seg_map_path': '/'.join(filter(None, [of_masks, below]))}
        return {'data_root': folder.at(), 'data_prefix': prefixes, **settings}
    prefixes = {'img_path': folder.at(root), 'seg_map_path': folder.at(of_masks)}
    return {'ann_file': folder.write(file, ''.join(f'{name}\n' for name in names)), 'data_prefix': prefixes, **settings}
