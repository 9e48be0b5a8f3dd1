"""Boxes of COCO, VOC and YOLO, all read by the stock ``CocoDataset``."""

import json

import numpy as np
import pytest

from tests.layouts.folders import BOX, boxes, coco, found, noted, pictures, text, voc
from xlearner_mm.errors import BadImageError, SourceError
from xlearner_mm.layouts.boxes import Annotated
from xlearner_mm.layouts.detection import _rarest_classes

NAMES = [f'{i}.jpg' for i in range(10)]
FOUND = ('cat', (20, 12, 60, 48), 0)


def test_classes_of_a_split_are_numbered_as_the_labels_name_them_and_not_as_a_process_hashes_them():
    objects = ['hgfedcba', *'abcdefgh']
    images = [Annotated('', (9, 9), np.empty((len(o), 4)), list(o), [False] * len(o), '') for o in objects]
    assert _rarest_classes(images)[1:] == [7, 6, 5, 4, 3, 2, 1, 0]


class TestCoco:
    @pytest.mark.parametrize(
        ('train', 'images', 'val', 'of_val'),
        [
            ('annotations/instances_train2017.json', 'train2017', 'annotations/instances_val2017.json', 'val2017'),
            ('train.json', 'images', 'val.json', 'images'),
            ('train/_annotations.coco.json', 'train', 'valid/_annotations.coco.json', 'valid'),
            ('train/labels.json', 'train/data', 'test/labels.json', 'test/data'),
            ('annotations/train.json', 'images/train', 'annotations/val.json', 'images/val'),
        ],
    )
    def test_usual_places_are_read_as_they_are(self, tmp_path, train, images, val, of_val):
        root = tmp_path / 'traffic'
        coco(root / train, pictures(root / images, 'a.jpg', 'b.jpg'))
        coco(root / val, pictures(root / of_val, 'c.jpg', 'd.jpg'))
        layout = found('det', root, tmp_path)
        assert (layout.kind, layout.classes) == ('COCO', ('cat', 'dog'))
        assert layout.train.dataset['ann_file'] == train
        assert boxes(layout)['a.jpg'] == [FOUND]
        assert set(boxes(layout, 'val')) == {'c.jpg', 'd.jpg'}
        assert layout.evaluator['ann_file'] == str(root / val)
        assert layout.objects.per_image == 1
        assert not (tmp_path / 'out').exists()

    def test_one_file_is_split(self, tmp_path):
        coco(tmp_path / 'all.json', pictures(tmp_path / 'images', *NAMES))
        layout = found('det', tmp_path, tmp_path)
        assert layout.val.from_split
        assert (layout.train.images, layout.val.images) == (8, 2)
        assert sorted({**boxes(layout), **boxes(layout, 'val')}) == NAMES
        assert layout.evaluator['ann_file'] == layout.val.dataset['ann_file']

    def test_other_files_of_the_official_folder_are_no_second_labels(self, tmp_path):
        for part in ('train', 'val'):
            names = pictures(tmp_path / f'{part}2017', f'{part}0.jpg', f'{part}1.jpg')
            for kind in ('instances', 'person_keypoints', 'captions'):
                coco(tmp_path / f'annotations/{kind}_{part}2017.json', names)
        assert found('det', tmp_path, tmp_path).train.dataset['ann_file'] == 'annotations/instances_train2017.json'

    def test_paths_of_another_machine_and_missing_sizes_are_handled(self, tmp_path):
        names = pictures(tmp_path / 'pictures', *NAMES)
        coco(tmp_path / 'train.json', [f'C:\\work\\pictures\\{name}' for name in names[:6]], size=None)
        coco(tmp_path / 'val.json', [f'/home/me/pictures/{name}' for name in names[6:]])
        layout = found('det', tmp_path, tmp_path)
        assert set(boxes(layout)) == set(NAMES[:6])
        assert set(boxes(layout, 'val')) == set(NAMES[6:])

    def test_categories_without_objects_are_no_classes(self, tmp_path):
        classes = ('objects', 'cat', 'dog', 'owl')
        images = pictures(tmp_path / 'images', *NAMES)
        coco(tmp_path / 'train.json', {n: [(classes[1 + i % 2], BOX)] for i, n in enumerate(images[:6])}, classes)
        coco(tmp_path / 'val.json', {n: [(classes[2 + i % 2], BOX)] for i, n in enumerate(images[6:])}, classes)
        layout = found('det', tmp_path, tmp_path)
        assert layout.classes == ('cat', 'dog')
        assert noted(layout, "'owl'", 'validation alone', '2')
        assert noted(layout, 'without objects', 'objects)')
        assert noted(layout, '(cat)', 'without validation objects')
        assert boxes(layout, 'val')['7.jpg'] == []

    def test_training_images_without_objects_are_left_out_and_said(self, tmp_path):
        images = pictures(tmp_path / 'images', *NAMES)
        coco(tmp_path / 'train.json', {n: [] if n == '3.jpg' else [('cat', BOX)] for n in images[:6]})
        coco(tmp_path / 'val.json', {n: [] if n == '9.jpg' else [('cat', BOX)] for n in images[6:]})
        layout = found('det', tmp_path, tmp_path)
        assert noted(layout, 'without objects', '1 (images/3.jpg)')
        assert '3.jpg' not in boxes(layout)
        assert boxes(layout, 'val')['9.jpg'] == []

    def test_training_objects_that_are_all_ignored_are_refused(self, tmp_path):
        images = pictures(tmp_path / 'images', *NAMES)
        coco(tmp_path / 'train.json', images[:6], crowds=NAMES)
        coco(tmp_path / 'val.json', images[6:])
        with pytest.raises(SourceError, match=r"'mine'.*training images, but all are ignored; expected .* iscrowd.* 0"):
            found('det', tmp_path, tmp_path)

    def test_validation_objects_that_are_all_ignored_are_refused(self, tmp_path):
        images = pictures(tmp_path / 'images', *NAMES)
        coco(tmp_path / 'train.json', images[:6])
        coco(tmp_path / 'val.json', images[6:], crowds=NAMES)
        with pytest.raises(SourceError, match=r'no validation object of the trained classes \(cat, dog\)'):
            found('det', tmp_path, tmp_path)

    def test_a_class_of_ignored_training_objects_is_left_out_and_said(self, tmp_path):
        images = pictures(tmp_path / 'images', *NAMES)
        objects = {n: [(('cat', 'dog', 'owl')[i % 3], BOX)] for i, n in enumerate(images)}
        coco(tmp_path / 'train.json', dict(list(objects.items())[:6]), ('cat', 'dog', 'owl'), crowds=['1.jpg', '4.jpg'])
        coco(tmp_path / 'val.json', dict(list(objects.items())[6:]), ('cat', 'dog', 'owl'))
        layout = found('det', tmp_path, tmp_path)
        assert layout.classes == ('cat', 'owl')
        assert set(boxes(layout)) == {'0.jpg', '2.jpg', '3.jpg', '5.jpg'}
        assert noted(layout, 'all ignored', 'left out: 1 (dog)')
        assert noted(layout, 'no class that is learned', '2 (images/1.jpg, images/4.jpg)')
        assert not noted(layout, 'validation alone')

    def test_a_split_leaves_objects_that_count_in_both_parts(self, tmp_path):
        names = pictures(tmp_path / 'images', *(f'{i}.jpg' for i in range(30)))
        objects = {n: [('dog' if i % 3 else 'cat', BOX)] for i, n in enumerate(names)}
        coco(tmp_path / 'all.json', objects, crowds=[n for i, n in enumerate(names) if i % 3 and i > 6])
        layout = found('det', tmp_path, tmp_path)
        for part in ('train', 'val'):
            assert {cls for found in boxes(layout, part).values() for cls, _, ignored in found if not ignored} == {
                'cat',
                'dog',
            }

    def test_a_split_leaves_rare_classes_in_both_parts(self, tmp_path):
        names = pictures(tmp_path / 'images', *(f'{i}.jpg' for i in range(40)))
        objects = {n: [('cat', BOX), *([('dog', BOX)] if i % 20 == 0 else [])] for i, n in enumerate(names)}
        objects['39.jpg'] = [('owl', BOX)]
        coco(tmp_path / 'all.json', objects, ('cat', 'dog', 'owl'))
        layout = found('det', tmp_path, tmp_path)
        assert layout.classes == ('cat', 'dog', 'owl')
        parts = [{cls for found in boxes(layout, part).values() for cls, *_ in found} for part in ('train', 'val')]
        assert parts == [{'cat', 'dog', 'owl'}, {'cat', 'dog'}]

    @pytest.mark.parametrize('wrong', ['val.json', 'train.json'])
    def test_a_few_impossible_boxes_are_left_out_and_said(self, tmp_path, wrong):
        for part, letter in (('train', 'a'), ('val', 'b')):
            names = pictures(tmp_path / 'images', *(f'{letter}{i}.jpg' for i in range(100)))
            impossible = [('cat', [29.6, 5, 1.03, 0.0])] if wrong == f'{part}.json' else []
            coco(
                tmp_path / f'{part}.json',
                {n: [('cat', BOX), *(impossible if i == 7 else [])] for i, n in enumerate(names)},
            )
        layout = found('det', tmp_path, tmp_path)
        in_train = wrong == 'train.json'
        assert noted(layout, '1 of the 100 images', 'impossible boxes', '7.jpg has a box of no area', wrong)
        assert len(boxes(layout)) == 100 - in_train
        assert ('a7.jpg' in boxes(layout)) != in_train
        assert boxes(layout, 'val')['b7.jpg'] == [FOUND]

    def test_images_of_a_folder_without_parts_that_have_impossible_boxes_are_in_neither(self, tmp_path):
        names = pictures(tmp_path / 'images', *(f'{i}.jpg' for i in range(100)))
        coco(tmp_path / 'all.json', {n: [('cat', [200, 12, 40, 36] if n == '7.jpg' else BOX)] for n in names})
        layout = found('det', tmp_path, tmp_path)
        assert set(boxes(layout)) | set(boxes(layout, 'val')) == set(names) - {'7.jpg'}

    def test_more_impossible_boxes_are_refused_with_their_number(self, tmp_path):
        names = pictures(tmp_path / 'images', *(f'{i}.jpg' for i in range(100)))
        coco(tmp_path / 'all.json', {n: [('cat', [200, 12, 40, 36] if n < '11' else BOX)] for n in names})
        with pytest.raises(BadImageError, match=r'/0\.jpg.*outside.*3 of the 100 images for train.*1%'):
            found('det', tmp_path, tmp_path)

    def test_images_in_no_file_are_said(self, tmp_path):
        coco(tmp_path / 'all.json', pictures(tmp_path / 'images', *NAMES)[1:])
        assert noted(found('det', tmp_path, tmp_path), '1 (images/0.jpg)', 'left out')

    @pytest.mark.parametrize(
        'change',
        [
            lambda c: [each.pop('area') for each in c['annotations']],
            lambda c: c['annotations'][0].update(area=None),
            lambda c: [each.pop('iscrowd') for each in c['annotations']],
            lambda c: [each.pop('id') for each in c['annotations']],
            lambda c: [each.update(id=1) for each in c['annotations']],
            lambda c: [each.update(width=None, height=None) for each in c['images']],
        ],
    )
    def test_what_the_stock_dataset_or_metric_lacks_is_added_in_an_index(self, tmp_path, change):
        root = tmp_path / 'traffic'
        for part, names in (('train', NAMES[:6]), ('val', NAMES[6:])):
            coco(root / f'{part}.json', pictures(root / 'images', *names))
            content = json.loads((root / f'{part}.json').read_text())
            change(content)
            (root / f'{part}.json').write_text(json.dumps(content))
        layout = found('det', root, tmp_path)
        assert boxes(layout)['0.jpg'] == [FOUND]
        assert set(boxes(layout, 'val')) == set(NAMES[6:])
        with open(layout.evaluator['ann_file']) as file:
            measured = json.load(file)['annotations']
        assert len({each['id'] for each in measured}) == 4
        assert all(each['area'] > 0 and each['iscrowd'] == 0 for each in measured)

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (lambda c: c['images'].append(dict(id=99, file_name='gone.jpg', width=9, height=9)), r'1 of 11.*gone\.jpg'),
            (lambda c: c['annotations'][0].update(category_id=7), r'category 7'),
            (lambda c: c['annotations'][0].update(image_id=77), r'1 images that it does not list'),
            (
                lambda c: [each.update(id=str(each['id'])) for each in c['images']],
                r"image_id is a number, 0, where the id is text, '0'; expected the same type: write both as numbers",
            ),
            (
                lambda c: [each.update(category_id=str(each['category_id'])) for each in c['annotations']],
                r"category_id is text, '1', where the id is a number, 1; expected the same type",
            ),
            (lambda c: c['annotations'][0].pop('bbox'), r"annotations without \['bbox'\]"),
            (lambda c: c['annotations'][0].update(bbox=[1, 2, 3]), r'bbox \[1, 2, 3\]'),
            (lambda c: c['images'][0].pop('file_name'), r"images without \['file_name'\]"),
            (lambda c: c['annotations'][0].update(bbox=[200, 12, 40, 36]), r'outside of the picture.*correct the box'),
            (lambda c: c['categories'][1].update(name='cat'), r"several categories called 'cat'"),
            (lambda c: c.pop('annotations'), r"no 'annotations'"),
            (lambda c: c.update(annotations=None), r'annotations that are no list'),
            (lambda c: c.update(images=None), r'images that are no list'),
            (lambda c: c.update(categories={'1': 'cat'}), r'categories that are no list'),
            (lambda c: c['categories'].append('owl'), r'categories that are no list of objects'),
            (lambda c: c['categories'][0].update(name=['cat']), r"categories with name \['cat'\]"),
            (lambda c: c['images'][0].update(width='40'), r"images with width '40'; expected a number"),
            (lambda c: c['images'][0].update(file_name=3), r'images with file_name 3; expected text'),
            (lambda c: c['annotations'][0].update(image_id=[1]), r'annotations with image_id \[1\]'),
        ],
    )
    def test_contradictions_are_refused_by_name(self, tmp_path, change, message):
        path = tmp_path / 'boxes.json'
        coco(path, pictures(tmp_path / 'images', *NAMES))
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(SourceError, match=rf"'mine'.*boxes\.json.*{message}|'mine'.*{message}"):
            found('det', tmp_path, tmp_path)

    @pytest.mark.parametrize('size', [(96, 72), None])
    def test_corners_in_place_of_width_and_height_are_refused(self, tmp_path, size):
        names = pictures(tmp_path / 'images', *NAMES)
        boxes = [[50, 40, 90, 70] if i % 3 else [5, 5, 40, 40] for i in range(10)]
        coco(tmp_path / 'all.json', {n: [('cat', box)] for n, box in zip(names, boxes, strict=True)}, size=size)
        with pytest.raises(
            SourceError,
            match=r'all\.json has 6 of 10 boxes .*\[50, 40, 90, 70\] in images/1\.jpg of 96 x 72 .*corners.*x2 - x1',
        ):
            found('det', tmp_path, tmp_path)

    def test_boxes_partly_outside_are_no_corners(self, tmp_path):
        # As corners, the first would leave nothing; the others would fit, as large objects do.
        large = [[60, 12, 50, 70], *[[5, 5, 95, 70]] * (len(NAMES) - 1)]
        names = pictures(tmp_path / 'images', *NAMES)
        coco(tmp_path / 'all.json', {n: [('cat', box)] for n, box in zip(names, large, strict=True)})
        layout = found('det', tmp_path, tmp_path)
        read = boxes(layout) | boxes(layout, 'val')
        assert read['0.jpg'][0][1] == (60, 12, 110, 82)
        assert read['1.jpg'][0][1] == (5, 5, 100, 75)

    def test_two_files_of_one_part_are_refused(self, tmp_path):
        for name in ('a.json', 'b.json'):
            coco(tmp_path / name, pictures(tmp_path / 'images', *NAMES))
        with pytest.raises(SourceError, match=r"a\.json and b\.json.*'train'"):
            found('det', tmp_path, tmp_path)

    def test_an_annotated_image_that_is_no_image_is_refused(self, tmp_path):
        coco(tmp_path / 'all.json', pictures(tmp_path / 'images', *NAMES))
        (tmp_path / 'images/3.jpg').write_text('no image')
        (tmp_path / 'images/4.jpg').write_text('no image either')
        with pytest.raises(BadImageError, match=r"'mine'.*\d\.jpg cannot be read"):
            found('det', tmp_path, tmp_path)


class TestVoc:
    def write(self, root, names=NAMES, images='JPEGImages', files='Annotations', **settings):
        for name in pictures(root, *(f'{images}/{name}' if images else name for name in names)):
            file = name.split('/')[-1]
            voc(root / files / file.replace('.jpg', '.xml'), file, **settings)

    def test_lists_state_the_parts(self, tmp_path):
        root = tmp_path / 'VOCdevkit/VOC2007'
        self.write(root)
        for part, names in dict(train='0123', val='456', trainval='0123456', test='78').items():
            text(root / f'ImageSets/Main/{part}.txt', *names)
        text(root / 'ImageSets/Main/cat_train.txt', '0 1', '1 -1')
        layout = found('det', tmp_path / 'VOCdevkit', tmp_path)
        assert (layout.kind, layout.classes) == ('VOC', ('cat',))
        assert set(boxes(layout)) == {f'{i}.jpg' for i in '0123'}
        assert set(boxes(layout, 'val')) == {f'{i}.jpg' for i in '456'}
        assert noted(layout, 'test', 'not used')
        assert noted(layout, '9.xml', 'no list')

    @pytest.mark.parametrize(
        ('images', 'files'), [('', ''), ('images', 'Annotations'), ('images', 'xml'), ('', 'anno')]
    )
    def test_plain_folders_are_split(self, tmp_path, images, files):
        self.write(tmp_path / 'traffic', images=images, files=files)
        layout = found('det', tmp_path / 'traffic', tmp_path)
        assert (layout.train.images, layout.val.images, layout.val.from_split) == (9, 1, True)

    def test_folders_of_both_parts_are_kept_apart(self, tmp_path):
        self.write(tmp_path / 'a', NAMES[:6], 'train', 'train')
        self.write(tmp_path / 'a', NAMES[6:], 'valid', 'valid')
        assert set(boxes(found('det', tmp_path / 'a', tmp_path), 'val')) == set(NAMES[6:])

    def test_boxes_are_those_of_the_stock_reader_of_voc(self, tmp_path):
        root = tmp_path / 'traffic'
        self.write(root, objects=[('cat', (21.7, 13, 61, 49), 0), ('dog', (1, 1, 30, 30), 1)], size=None)
        for i in (0, 1):  # one of them is trained
            voc(root / f'Annotations/{i}.xml', f'{i}.jpg', [('dog', (1, 1, 30, 30), 0)], size=None)
        layout = found('det', root, tmp_path)
        text(root / 'train.txt', *(name.removesuffix('.jpg') for name in boxes(layout)))
        settings = dict(ann_file='train.txt', data_prefix=dict(sub_data_root=''), metainfo=dict(classes=layout.classes))
        from xlearner_mm.datasets.stock_datasets import build_deferred

        stock = build_deferred(dict(_scope_='mmdet', type='XMLDataset', data_root=str(root), pipeline=[], **settings))
        stock.full_init()
        expected = {
            info['img_path'].split('/')[-1]: [
                (layout.classes[each['bbox_label']], tuple(each['bbox']), each['ignore_flag'])
                for each in info['instances']
            ]
            for info in (stock.get_data_info(i) for i in range(len(stock)))
        }
        assert len(expected) == 8
        assert {(cls, ignored) for found in expected.values() for cls, _, ignored in found} == {
            ('cat', 0),
            ('dog', 0),
            ('dog', 1),
        }
        assert boxes(layout) == expected

    def test_labels_without_images_and_images_without_labels_are_left_out_and_said(self, tmp_path):
        self.write(tmp_path / 'a')
        pictures(tmp_path / 'a/JPEGImages', 'unlabeled.jpg')
        voc(tmp_path / 'a/Annotations/gone.xml', 'gone.jpg')
        layout = found('det', tmp_path / 'a', tmp_path)
        assert noted(layout, 'images', 'left out', '1 (', 'unlabeled.jpg')
        assert noted(layout, 'label files', 'left out', '1 (', 'gone.xml')

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ('<annotation>', 'not XML'),
            ('<annotation><object><name>cat</name></object></annotation>', "'cat' without a box"),
            (
                '<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>inf</xmax><ymax>9</ymax>'
                '</bndbox></object></annotation>',
                "'cat' without a box",
            ),
        ],
    )
    def test_a_broken_file_is_refused_by_name(self, tmp_path, content, message):
        self.write(tmp_path / 'a')
        text(tmp_path / 'a/Annotations/5.xml', content)
        with pytest.raises(SourceError, match=rf"'mine'.*5\.xml.*{message}"):
            found('det', tmp_path / 'a', tmp_path)

    def test_a_box_of_no_area_is_refused_by_name(self, tmp_path):
        self.write(tmp_path / 'a')
        voc(tmp_path / 'a/Annotations/5.xml', '5.jpg', [('cat', (50, 10, 20, 40), 0)])
        with pytest.raises(BadImageError, match=r'5\.jpg.*no area.*5\.xml'):
            found('det', tmp_path / 'a', tmp_path)

    def test_a_list_of_images_that_are_not_there_is_refused(self, tmp_path):
        self.write(tmp_path / 'a')
        text(tmp_path / 'a/ImageSets/Main/train.txt', '0', 'gone')
        with pytest.raises(SourceError, match=r'ImageSets/Main.*1 of 2.*gone'):
            found('det', tmp_path / 'a', tmp_path)
