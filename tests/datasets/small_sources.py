"""Sources of six small pictures each, one per form that stock datasets read."""

import json

import numpy as np
from PIL import Image

from tests.fixtures.pictures import HEIGHT, WIDTH, write_labels, write_picture

COUNT = 6
BOX = [20, 12, 40, 36]
_XML = (
    '<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size><object><name>cat</name>'
    '<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
    '</annotation>'
)
_LOAD = dict(type='LoadImageFromFile')


def class_folders(root):
    """mmpretrain's class folders, ``cat`` and ``dog``."""
    for i in range(COUNT):
        write_picture(root / 'train' / ('cat', 'dog')[i % 2] / f'{i}.jpg')
    return _source('cls', 'mmpretrain', 'CustomDataset', root, 'PackInputs', data_prefix='train')


def class_list(root):
    """mmpretrain's list of names and labels."""
    for i in range(COUNT):
        write_picture(root / 'train' / f'{i}.jpg')
    (root / 'train.txt').write_text(''.join(f'{i}.jpg {i % 2}\n' for i in range(COUNT)))
    settings = dict(data_prefix='train', ann_file='train.txt', metainfo=dict(classes=['cat', 'dog']))
    return _source('cls', 'mmpretrain', 'CustomDataset', root, 'PackInputs', **settings)


def coco(root):
    """COCO's json."""
    write_coco(root)
    settings = dict(ann_file='train.json', metainfo=dict(classes=('cat',)), data_prefix=dict(img='train'))
    return _source('det', 'mmdet', 'CocoDataset', root, 'PackDetInputs', _boxes(), **settings)


def voc(root):
    """VOC's xml."""
    names = [f'{i}' for i in range(COUNT)]
    for name in names:
        write_picture(root / 'JPEGImages' / f'{name}.jpg')
        write_xml(root / 'Annotations' / f'{name}.xml', [20, 12, 60, 48])
    (root / 'list.txt').write_text('\n'.join(names))
    settings = dict(ann_file='list.txt', data_prefix=dict(sub_data_root=''), metainfo=dict(classes=('cat',)))
    return _source('det', 'mmdet', 'XMLDataset', root, 'PackDetInputs', _boxes(), **settings)


def label_maps(root):
    """mmseg's folders of pictures and of label maps of four classes."""
    for i in range(COUNT):
        write_picture(root / 'images' / f'{i}.jpg')
        write_labels(root / 'maps' / f'{i}.png', [0, 1, 3, 255])
    settings = dict(data_prefix=dict(img_path='images', seg_map_path='maps'), metainfo=dict(classes=list('abcd')))
    load = dict(type='LoadAnnotations')
    return _source('seg', 'mmseg', 'BaseSegDataset', root, 'PackSegInputs', load, **settings)


FORMS = {form.__name__: form for form in (class_folders, class_list, coco, voc, label_maps)}


def write_coco(root, change=lambda content: None):
    """Write the pictures and json of :func:`coco`, the content changed first."""
    images = [dict(id=i, file_name=f'{i}.jpg', width=WIDTH, height=HEIGHT) for i in range(COUNT)]
    for image in images:
        write_picture(root / 'train' / image['file_name'])
    boxes = [dict(id=i, image_id=i, category_id=1, bbox=list(BOX), area=1440, iscrowd=0) for i in range(COUNT)]
    content = dict(images=images, annotations=boxes, categories=[dict(id=1, name='cat')])
    change(content)
    (root / 'train.json').write_text(json.dumps(content))


def write_xml(path, box):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_XML.format(w=WIDTH, h=HEIGHT, box=box))


def turned(path, orientation, size=(WIDTH, HEIGHT)):
    """Write a JPEG with an EXIF orientation, of a width and height as stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.linspace(0, 255, size[0] * size[1]).reshape(size[::-1]).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ramp).convert('RGB').save(path, exif=exif.tobytes())


def _boxes():
    return dict(type='LoadAnnotations', with_bbox=True)


def _source(task, scope, kind, root, pack, *loaders, **settings):
    pipeline = [dict(_LOAD), *loaders, dict(type=pack)]
    dataset = dict(_scope_=scope, type=kind, data_root=str(root), pipeline=pipeline, **settings)
    return dict(task=task, batch_size=2, dataset=dataset)
