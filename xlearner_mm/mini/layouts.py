"""Writers of the on-disk layouts that stock dataset classes read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from xlearner_mm.mini.catalog import IMAGE_SIZE, Instance, Layout, MiniSet, Sample


def save_photo(path: Path, image: np.ndarray) -> None:
    """Write an RGB picture ``(H, W, 3)`` uint8 as JPEG, or as PNG by its suffix; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.png':
        Image.fromarray(image).save(path, compress_level=1)
    else:
        Image.fromarray(image).save(path, quality=92)


def save_map(path: Path, values: np.ndarray, palette: list[int] | None = None) -> None:
    """Write a map of labels or depths as PNG; creates the folder.

    Args:
        path: of the file.
        values: ``(H, W)`` uint8 or uint16.
        palette: colors of the values of a uint8 map, as RGB triples in one list. Defaults to None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def save_lines(path: Path, lines: list[str]) -> None:
    """Write lines of text; creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))


def _write_class_folders(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample], suffix: str) -> None:
    for number, sample in enumerate(samples):
        name = f'{number:05d}{suffix}'
        save_photo(root / split / entry.classes[sample.label] / name, sample.image)


write_jpg = partial(_write_class_folders, suffix='.jpg')
write_png = partial(_write_class_folders, suffix='.png')


def write_coco(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split of COCO detection; category ids count from 1 in label order."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, sample in enumerate(samples, start=1):
        name = f'{image_id:06d}.jpg'
        save_photo(root / split / name, sample.image)
        size = {'height': IMAGE_SIZE, 'width': IMAGE_SIZE}
        images.append({'id': image_id, 'file_name': name, **size})
        for instance in sample.instances:
            annotations.append(_annotation(len(annotations) + 1, image_id, instance))
    categories = [{'id': i, 'name': name, 'supercategory': entry.name} for i, name in enumerate(entry.classes, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path = root / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _annotation(number: int, image_id: int, instance: Instance) -> dict[str, Any]:
    box = instance.box
    return {
        'id': number,
        'image_id': image_id,
        'category_id': instance.label + 1,
        'bbox': [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
        'area': int(instance.visible.sum()),
        'segmentation': {'size': [IMAGE_SIZE, IMAGE_SIZE], 'counts': run_lengths(instance.visible)},
        'iscrowd': 0,
    }


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's uncompressed run lengths of a mask ``(H, W)``: column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order='F')])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *changes, mask.size]).tolist()


def write_nyu(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split of NYU-Depth V2."""
    for number, sample in enumerate(samples):
        assert sample.depth is not None
        millimeters = np.round(sample.depth * 1000).astype(np.uint16)
        save_photo(root / 'images' / split / f'{number:05d}.jpg', sample.image)
        save_map(root / 'annotations' / split / f'{number:05d}.png', millimeters)


def write_seg_dirs(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split of segmentation in the layout of ADE20K."""
    for number, sample in enumerate(samples):
        assert sample.mask is not None
        save_photo(root / 'img_dir' / split / f'{number:05d}.jpg', sample.image)
        save_map(root / 'ann_dir' / split / f'{number:05d}.png', sample.mask)


_HARD_AREA = 60  # visible pixels below which an object counts as difficult


def write_voc_det(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split of PASCAL VOC detection; its picture numbers continue those of the previous splits."""
    base = root / 'VOC2007'
    before = list(entry.counts)[: list(entry.counts).index(split)]
    lists = base / 'ImageSets' / 'Main'
    offset = sum(len((lists / f'{name}.txt').read_text().split()) for name in before)
    names = []
    for number, sample in enumerate(samples, start=offset + 1):
        names.append(f'{number:06d}')
        save_photo(base / 'JPEGImages' / f'{number:06d}.jpg', sample.image)
        _save_xml(base / 'Annotations' / f'{number:06d}.xml', entry, sample)
    save_lines(lists / f'{split}.txt', names)
    if split == 'val':
        train = (lists / 'train.txt').read_text().split()
        save_lines(lists / 'trainval.txt', train + names)


def _save_xml(path: Path, entry: MiniSet, sample: Sample) -> None:
    top = ElementTree.Element('annotation')
    _leaves(top, folder='VOC2007', filename=f'{path.stem}.jpg')
    _leaves(ElementTree.SubElement(top, 'source'), database='XL-Mini', annotation='XL-Mini')
    _leaves(ElementTree.SubElement(top, 'size'), width=IMAGE_SIZE, height=IMAGE_SIZE, depth=3)
    _leaves(top, segmented=0)
    for instance in sample.instances:
        _add_object(top, entry.classes[instance.label], instance)
    ElementTree.indent(top, '\t')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ElementTree.tostring(top, encoding='unicode') + '\n')


def _add_object(top: ElementTree.Element, name: str, instance: Instance) -> None:
    node = ElementTree.SubElement(top, 'object')
    _leaves(
        node,
        name=name,
        pose='Unspecified',
        truncated=int(instance.truncated),
        occluded=int(instance.occluded),
        difficult=int(instance.visible.sum() < _HARD_AREA),
    )
    box = instance.box
    # VOC counts pixels from 1, and xmax and ymax are inside the object.
    bounds = {'xmin': box.x0 + 1, 'ymin': box.y0 + 1, 'xmax': box.x1, 'ymax': box.y1}
    _leaves(ElementTree.SubElement(node, 'bndbox'), **bounds)


def _leaves(parent: ElementTree.Element, **values: str | int) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


def write_voc_seg(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split of PASCAL VOC segmentation."""
    base = root / 'VOC2012'
    palette = voc_palette()
    names = []
    for number, sample in enumerate(samples):
        assert sample.mask is not None
        name = f'{split}_{number:06d}'
        names.append(name)
        save_photo(base / 'JPEGImages' / f'{name}.jpg', sample.image)
        save_map(base / 'SegmentationClass' / f'{name}.png', sample.mask, palette)
    save_lines(base / 'ImageSets' / 'Segmentation' / f'{split}.txt', names)


def voc_palette() -> list[int]:
    """Return VOC's colors of the values 0 to 255, as RGB triples in one list."""
    palette = []
    for value in range(256):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((value >> (3 * bit + channel)) & 1) << (7 - bit)
        palette += rgb
    return palette


Writer = Callable[[Path, MiniSet, str, Iterable[Sample]], None]

WRITERS: dict[Layout, Writer] = {
    Layout.CLASS_FOLDERS: write_jpg,
    Layout.CLASS_FOLDERS_PNG: write_png,
    Layout.COCO: write_coco,
    Layout.SEG_DIRS: write_seg_dirs,
    Layout.VOC_DET: write_voc_det,
    Layout.VOC_SEG: write_voc_seg,
    Layout.NYU: write_nyu,
}
"""Writes one split of a set below a folder: ``writer(root, entry, split, samples)``."""
