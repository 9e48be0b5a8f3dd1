"""Annotation files that cannot be read are named; of many small ones, some may be left out."""

import json

import pytest
from mmdet.datasets import XMLDataset
from mmengine.dataset import BaseDataset

from tests.datasets.small_sources import BOX, COUNT, class_list, coco, voc, write_coco
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets.integrity.annotations import read_annotations
from xlearner_mm.datasets.stock_datasets import build_deferred
from xlearner_mm.errors import BadImageError, SourceError
from xlearner_mm.registry import DATASETS
from xlearner_mm.sources import parse_sources


@DATASETS.register_module()
class UnfitReader(XMLDataset):
    """A reader of another form of annotations."""

    def parse_data_info(self, img_info):
        raise KeyError('bndbox')


SKIP = dict(policy='skip', max_share=0.4)


def refused(source, message, **settings):
    with pytest.raises(SourceError, match=f"source 'pets': .*{message}"):
        MultiSourceDataset({'pets': {**source, **settings}})


@pytest.mark.parametrize('content', ['', '{', '[1, 2]', '{"images": []}', 'nul'])
@pytest.mark.parametrize('policy', ['error', 'skip'])
def test_a_broken_json_file_is_named_under_any_policy(tmp_path, content, policy):
    source = coco(tmp_path)
    (tmp_path / 'train.json').write_text(content)
    refused(source, r'(cannot be read.*|is empty.*)train\.json', bad_data=dict(policy=policy))


@pytest.mark.parametrize('content', ['', '<annotation>', '<annotation><size/></annotation>', 'no xml'])
def test_one_broken_xml_file_is_named_or_left_out(tmp_path, content):
    source = voc(tmp_path)
    (tmp_path / 'Annotations' / '3.xml').write_text(content)
    refused(source, r'Annotations/3\.xml has annotations that cannot be read')
    dataset = MultiSourceDataset({'pets': {**source, 'bad_data': SKIP}})
    assert len(dataset) == COUNT - 1
    assert dataset.images == {'pets': COUNT}
    (path,) = dataset.bad_images['pets']
    assert path.endswith('Annotations/3.xml')


def test_more_broken_xml_files_than_the_share_are_an_error(tmp_path):
    source = voc(tmp_path)
    for i in range(1, COUNT):
        (tmp_path / 'Annotations' / f'{i}.xml').write_text('')
    refused(source, r'5 of 6 images are bad, more than bad_data\.max_share=0\.4', bad_data=SKIP)


@pytest.mark.parametrize('policy', ['error', 'skip'])
def test_unreadable_annotations_are_blamed_on_the_dataset(tmp_path, policy):
    source = {**voc(tmp_path), 'bad_data': dict(policy=policy)}
    source['dataset']['type'] = 'UnfitReader'
    with pytest.raises(SourceError, match=r"'pets': UnfitReader .*none of its 6 annotations.*0\.xml.*'bndbox'.*class"):
        MultiSourceDataset({'pets': source})


def test_partly_readable_annotations_are_blamed_on_images(tmp_path):
    source = voc(tmp_path)
    for i in range(COUNT - 1):
        (tmp_path / 'Annotations' / f'{i}.xml').write_text('')
    with pytest.raises(BadImageError, match=r"source 'pets': .*Annotations/0\.xml .*annotations"):
        MultiSourceDataset({'pets': source})


@DATASETS.register_module()
class ListedPairs(BaseDataset):
    """Annotations that are no dicts."""

    def load_data_list(self):
        return [self.parse_data_info(raw) for raw in (['0.jpg', 3], ['1.jpg', 4])]

    def parse_data_info(self, raw_data_info):
        path, label = raw_data_info
        return dict(img_path=path, gt_label=label)


def test_annotations_that_are_no_dicts_are_read():
    source = dict(task='cls', batch_size=1, dataset=dict(type='ListedPairs'))
    assert MultiSourceDataset({'pets': source}).lengths == {'pets': 2}


def test_a_broken_xml_file_within_a_wrapper_is_left_out(tmp_path):
    source = {**voc(tmp_path), 'bad_data': SKIP}
    (tmp_path / 'Annotations' / '3.xml').write_text('')
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    source['dataset'] = dict(_scope_='mmdet', type='ConcatDataset', datasets=[inner, inner])
    assert len(MultiSourceDataset({'pets': source})) == 2 * (COUNT - 1)


@pytest.mark.parametrize('order', [1, -1])
def test_the_share_is_that_of_all_concatenated_parts_in_any_order(tmp_path, order):
    source = coco(tmp_path / 'bad')
    write_coco(tmp_path / 'bad', first_object(area=0))
    parts = [source['dataset'], coco(tmp_path / 'good')['dataset']][::order]
    inner = [{k: v for k, v in part.items() if k != '_scope_'} for part in parts]
    source['dataset'] = dict(_scope_='mmdet', type='ConcatDataset', datasets=inner)
    dataset = dataset_of(source, bad_data=dict(policy='skip', max_share=0.1))
    assert (len(dataset), dataset.images) == (2 * COUNT - 1, {'pets': 2 * COUNT})
    refused(source, r'1 of 12 images are bad.*the last is 0\.jpg', bad_data=dict(policy='skip', max_share=0.05))


def test_bad_images_of_one_part_are_not_blamed_on_another(tmp_path):
    source = coco(tmp_path / 'bad')
    write_coco(tmp_path / 'bad', first_object(area=0))
    parts = [source['dataset'], coco(tmp_path / 'empty')['dataset']]
    write_coco(tmp_path / 'empty', lambda content: content.update(images=[], annotations=[]))
    inner = [{k: v for k, v in part.items() if k != '_scope_'} for part in parts]
    source['dataset'] = dict(_scope_='mmdet', type='ConcatDataset', datasets=inner)
    refused(source, r'it lists no image \(.*empty/train\.json\)', bad_data=SKIP)


def test_an_image_without_a_size_in_the_json_is_named_or_left_out(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, lambda content: content['images'][2].pop('width'))
    refused(source, r"2\.jpg has annotations that cannot be read: KeyError: 'width' \(.*train\.json\)")
    assert len(MultiSourceDataset({'pets': {**source, 'bad_data': SKIP}})) == COUNT - 1


def test_a_line_of_a_list_without_a_label_is_named_with_the_list(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('0.jpg\n')
    refused(source, r'cannot be read.*train\.txt')


@pytest.mark.parametrize('name', ['../../outside', '/outside', 'a/../../../outside'])
def test_paths_outside_of_the_folders_are_refused_under_strict_paths(tmp_path, name):
    root = tmp_path / 'data'
    root.mkdir()
    listed = class_list(root)
    (root / 'train.txt').write_text(f'{name}.jpg 0\n')
    dataset = MultiSourceDataset({'pets': {**listed, 'strict_paths': True, 'bad_data': SKIP}})
    with pytest.raises(SourceError, match=r"source 'pets': .*annotations.* img_path .*outside\.jpg'.* out of"):
        dataset[0]
    boxes = voc(root)
    (root / 'list.txt').write_text(f'{name}\n')
    refused(boxes, r'the annotations name xml_path .*outside\.xml', strict_paths=True, bad_data=SKIP)


@pytest.mark.parametrize('form', [class_list, coco, voc])
def test_names_within_the_folders_are_read_under_strict_paths(tmp_path, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = form(tmp_path)
    source['dataset']['data_root'] = '.'
    MultiSourceDataset({'pets': {**source, 'strict_paths': True}})[0]


def test_strict_paths_need_a_folder(tmp_path):
    source = coco(tmp_path)
    content = json.loads((tmp_path / 'train.json').read_text())
    for image in content['images']:
        image['file_name'] = str(tmp_path / 'train' / image['file_name'])
    (tmp_path / 'train.json').write_text(json.dumps(content))
    source['dataset'].update(data_root='', data_prefix=dict(img=''), ann_file=str(tmp_path / 'train.json'))
    refused(source, "strict_paths needs the dataset's data_root", strict_paths=True)


@pytest.fixture
def told(monkeypatch):
    """Log lines about objects that are left out."""
    lines = []
    monkeypatch.setattr('xlearner_mm.datasets.integrity.annotations.print_log', lambda line, *_: lines.append(line))
    return lines


def dataset_of(source, **settings):
    return MultiSourceDataset({'pets': {**source, **settings}})


def first_object(**values):
    return lambda content: content['annotations'][0].update(values)


def instances(dataset):
    return [len(dataset.datasets['pets'].get_data_info(i)['instances']) for i in range(len(dataset))]


OBJECTS = {
    r'a box of no area: \(20, 12, 20, 48\) in 96 x 72 pixels': dict(bbox=[20, 12, 0, 36]),
    r'a box of no area: \(20, 12, 15, 48\)': dict(bbox=[20, 12, -5, 36]),
    'a box outside of the picture': dict(bbox=[200, 200, 10, 10]),
    'a box far larger than the picture': dict(bbox=[20, 12, 1000, 1000]),
    'a box with a non-finite coordinate': dict(bbox=[float('nan'), 1, 2, 3]),
    r'a box with a non-finite coordinate: \(inf': dict(bbox=[float('inf'), 1, 2, 3]),
    'an object whose area is 0': dict(area=0),
    'an object of category 7, which its file does not define': dict(category_id=7),
    'an object of category -1': dict(category_id=-1),
}


@pytest.mark.parametrize('message', OBJECTS)
def test_impossible_coco_objects_are_named_or_their_image_is_left_out(tmp_path, message):
    source = coco(tmp_path)
    write_coco(tmp_path, first_object(**OBJECTS[message]))
    refused(source, rf'0\.jpg has {message}.*train\.json.*correct the annotations')
    dataset = dataset_of(source, bad_data=SKIP)
    assert (len(dataset), dataset.images) == (COUNT - 1, {'pets': COUNT})
    assert list(dataset.bad_images['pets']) == ['0.jpg']


def test_ignored_objects_are_not_checked(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, first_object(ignore=1, bbox=[20, 12, 0, 36]))
    assert instances(dataset_of(source)) == [0, 1, 1, 1, 1, 1]


def test_a_crowd_is_kept_as_one(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, first_object(iscrowd=1))
    dataset = dataset_of(source).datasets['pets']
    assert dataset.get_data_info(0)['instances'][0]['ignore_flag'] == 1


def test_a_validation_keeps_all_images_and_counts_impossible_objects(tmp_path, told):
    settings = coco(tmp_path)
    settings['dataset']['test_mode'] = True
    write_coco(tmp_path, first_object(bbox=[20, 12, 0, 36]))
    (source,) = parse_sources({'pets': settings}).values()
    dataset = build_deferred(source.dataset)
    assert read_annotations(source, dataset, [dataset], whole=True) == ({}, COUNT)
    assert len(dataset) == COUNT
    assert dataset.get_data_info(0)['instances'] == []
    assert "source 'pets': objects left out of" in told[0]
    assert '1 of 0.jpg, which has a box of no area' in told[0]


def no_annotations(content):
    del content['annotations']


def doubled(content):
    content['images'][1]['id'] = 0


def other_categories(content):
    content['categories'] = [dict(id=1, name='hound'), dict(id=2, name='horse')]


@pytest.mark.parametrize('policy', ['error', 'skip'])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (no_annotations, "has no 'annotations'"),
        (doubled, 'has 1 image ids that several images share, such as 0'),
        (other_categories, r"none of its categories \(hound, horse\) is among the data set's classes \(cat\)"),
    ],
)
def test_a_coco_file_that_loses_images_or_all_objects_is_refused_under_any_policy(tmp_path, change, message, policy):
    source = coco(tmp_path)
    write_coco(tmp_path, change)
    refused(source, rf'{message}.*train\.json', bad_data=dict(policy=policy))


def test_annotations_of_an_image_that_is_not_listed_are_named_or_counted(tmp_path):
    source = coco(tmp_path)
    write_coco(tmp_path, first_object(image_id=77))
    refused(source, r"image of id 77 of .*train\.json has 1 annotation\(s\), but is not among the file's images")
    dataset = dataset_of(source, bad_data=SKIP)
    assert (len(dataset), len(dataset.bad_images['pets'])) == (COUNT, 1)


def test_objects_of_other_categories_and_below_a_pixel_are_counted_and_logged_once(tmp_path, told):
    source = coco(tmp_path)

    def change(content):
        content['categories'].append(dict(id=2, name='hound'))
        for i, values in enumerate([dict(category_id=2), dict(category_id=2), dict(bbox=[*BOX[:2], 0.5, 9])]):
            content['annotations'][i].update(values)

    write_coco(tmp_path, change)
    assert instances(dataset_of(source)) == [0, 0, 0, 1, 1, 1]
    (line,) = told
    assert line.endswith("train.json: 2 'hound', 1 less than a pixel wide or high")


def test_objects_of_other_names_in_xml_files_are_counted_and_logged_once(tmp_path, told):
    source = voc(tmp_path)
    path = tmp_path / 'Annotations' / '0.xml'
    path.write_text(path.read_text().replace('cat', 'hound'))
    assert instances(dataset_of(source)) == [0, 1, 1, 1, 1, 1]
    (line,) = told
    assert line.endswith("list.txt: 1 'hound'")


def test_xml_files_without_any_object_of_the_classes_are_an_error(tmp_path):
    source = voc(tmp_path)
    for path in (tmp_path / 'Annotations').iterdir():
        path.write_text(path.read_text().replace('cat', 'hound'))
    refused(source, r"of its 6 objects, none is of its classes \(cat\): they are 'hound'.*list\.txt")


def test_a_file_without_images_is_reported_as_empty(tmp_path):
    source = class_list(tmp_path)
    (tmp_path / 'train.txt').write_text('')
    refused(source, r'it lists no image \(.*train\.txt\)')


def test_a_filter_that_leaves_no_image_is_named(tmp_path):
    source = coco(tmp_path)
    source['dataset']['filter_cfg'] = dict(min_size=1000)
    refused(source, r"its filter_cfg=\{'min_size': 1000\} leaves none of its images \(.*train\.json\)")


@pytest.mark.parametrize('name', ['train.pkl', 'train.pickle', 'train.yaml', 'train.YML'])
@pytest.mark.parametrize('setting', ['ann_file', 'proposal_file'])
def test_files_that_would_be_executed_are_refused_unread(tmp_path, setting, name):
    source = coco(tmp_path)
    inner = {k: v for k, v in {**source['dataset'], setting: name}.items() if k != '_scope_'}
    source['dataset'] = dict(_scope_='mmdet', type='ConcatDataset', datasets=[inner])
    refused(source, rf"dataset\.datasets\[0\]\.{setting} is '{name}': reading a file of this kind executes")


def test_a_valid_file_is_read_without_messages(tmp_path, told):
    assert instances(dataset_of(coco(tmp_path))) == [1] * COUNT
    assert told == []
    assert len(json.loads((tmp_path / 'train.json').read_text())['annotations']) == COUNT
