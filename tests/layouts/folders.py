"""Small folders of labeled pictures as people have them, and what stock datasets read of them."""

import json

import numpy as np
from PIL import Image

from tests.fixtures.pictures import HEIGHT, WIDTH, write_picture
from xlearner_mm.datasets.integrity.annotations import read_annotations
from xlearner_mm.datasets.stock_datasets import build_deferred, leaves
from xlearner_mm.layouts import recognize
from xlearner_mm.sources import Source

BOX = [20, 12, 40, 36]
YOLO = (0.5, 0.5, 0.25, 0.5)
_XML = (
    '<annotation><filename>{name}</filename>{size}{objects}</annotation>',
    '<size><width>{width}</width><height>{height}</height><depth>3</depth></size>',
    '<object><name>{cls}</name><difficult>{hard}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
    '<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>',
)


def pictures(root, *names):
    """Write pictures whose bytes depend on their names, and return the names."""
    for name in names:
        write_picture(root / name)
    return list(names)


def text(path, *lines, encoding='utf-8'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines), encoding=encoding)


def coco(path, images, classes=('cat', 'dog'), size=(WIDTH, HEIGHT), crowds=()):
    """Write a COCO file of images, each with objects as (class, box), or one of a class in turn where it has none.

    Objects of the images in ``crowds`` are ``iscrowd``.
    """
    objects = images if isinstance(images, dict) else {n: [(classes[i % 2], BOX)] for i, n in enumerate(images)}
    stated = dict(width=size[0], height=size[1]) if size else {}
    listed = [dict(id=i, file_name=name, **stated) for i, name in enumerate(objects)]
    crowded = [int(name in crowds) for name in objects]
    pairs = [(i, cls, box) for i, found in enumerate(objects.values()) for cls, box in found]
    annotations = [
        dict(id=n, image_id=i, category_id=classes.index(cls) + 1, bbox=box, area=box[2] * box[3], iscrowd=crowded[i])
        for n, (i, cls, box) in enumerate(pairs, start=1)
    ]
    categories = [dict(id=n, name=name) for n, name in enumerate(classes, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(images=listed, annotations=annotations, categories=categories)))


def voc(path, name, objects=(('cat', (21, 13, 61, 49), 0),), size=(WIDTH, HEIGHT)):
    """Write an XML file of objects as (class, (xmin, ymin, xmax, ymax), difficult)."""
    top, stated, one = _XML
    found = ''.join(one.format(cls=cls, box=box, hard=hard) for cls, box, hard in objects)
    stated = stated.format(width=size[0], height=size[1]) if size else ''
    text(path, top.format(name=name, size=stated, objects=found))


def mask(path, *values, size=(WIDTH, HEIGHT), mode=None):
    """Write a mask whose columns hold the values in turn; as RGB or with a palette by ``mode``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.resize(np.array(values, np.uint16 if max(values) > 255 else np.uint8), size[0])
    image = Image.fromarray(np.tile(columns, (size[1], 1)))
    if mode == 'P':
        image.putpalette(list(range(256)) * 3)
    elif mode:
        image = image.convert(mode)
    image.save(path)


def found(task, root, tmp_path, name='mine', **settings):
    """Recognize a folder, with the index beside it."""
    return recognize(task, name, root, tmp_path / 'out', **settings)


def read(layout, part='train'):
    """Return what the stock dataset reads of a part, with all checks of a training."""
    split = getattr(layout, part)
    config = split.with_pipeline([])
    dataset = build_deferred(config)
    read_annotations(Source(layout.name, layout.task, config, 1), dataset, list(leaves(dataset)))
    assert len(dataset) == split.images
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def labels(layout, part='train'):
    """Return file name -> class of a part, as the stock dataset reads them."""
    return {info['img_path'].split('/')[-1]: layout.classes[info['gt_label']] for info in read(layout, part)}


def boxes(layout, part='train'):
    """Return file name -> (class, box as x1, y1, x2, y2, ignored) of a part, as the stock dataset reads them."""
    return {
        info['img_path'].split('/')[-1]: [
            (layout.classes[each['bbox_label']], tuple(each['bbox']), each['ignore_flag']) for each in info['instances']
        ]
        for info in read(layout, part)
    }


def noted(layout, *words):
    """Return whether one note has all these words."""
    return any(all(word in note for word in words) for note in layout.notes)
