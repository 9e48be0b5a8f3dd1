"""PASCAL VOC detection, below ``VOC2007``; ``trainval.txt`` is ``train.txt`` and ``val.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from xlearner_mm.mini.catalog import MiniSet
from xlearner_mm.mini.layouts.files import save_lines, save_photo
from xlearner_mm.mini.sample import IMAGE_SIZE, Instance, Sample

_HARD_AREA = 60  # visible pixels below which an object counts as difficult


def write(root: Path, entry: MiniSet, split: str, samples: Iterable[Sample]) -> None:
    """Write one split; picture numbers go on where the splits before it ended."""
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
    # VOC counts pixels from 1 and its xmax and ymax belong to the object.
    bounds = {'xmin': box.x0 + 1, 'ymin': box.y0 + 1, 'xmax': box.x1, 'ymax': box.y1}
    _leaves(ElementTree.SubElement(node, 'bndbox'), **bounds)


def _leaves(parent: ElementTree.Element, **values: str | int) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)
