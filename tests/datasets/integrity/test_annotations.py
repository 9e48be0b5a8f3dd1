"""Annotation files that cannot be read are named; of many small ones, some may be left out."""

import json

import pytest

from tests.datasets.small_sources import COUNT, class_list, coco, voc, write_coco
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.errors import SourceError

SKIP = dict(policy='skip', max_share=0.4)


def refused(source, message, **settings):
    with pytest.raises(SourceError, match=f"source 'pets': .*{message}"):
        MultiSourceDataset({'pets': {**source, **settings}})


@pytest.mark.parametrize('content', ['', '{', '[1, 2]', '{"images": []}', 'nul'])
@pytest.mark.parametrize('policy', ['error', 'skip'])
def test_a_json_file_that_is_broken_is_named_whatever_the_policy(tmp_path, content, policy):
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
    for i in range(COUNT):
        (tmp_path / 'Annotations' / f'{i}.xml').write_text('')
    refused(source, r'6 of 6 images are bad, more than bad_data\.max_share=0\.4', bad_data=SKIP)


def test_a_broken_xml_file_within_a_wrapper_is_left_out(tmp_path):
    source = {**voc(tmp_path), 'bad_data': SKIP}
    (tmp_path / 'Annotations' / '3.xml').write_text('')
    inner = {k: v for k, v in source['dataset'].items() if k != '_scope_'}
    source['dataset'] = dict(_scope_='mmdet', type='ConcatDataset', datasets=[inner, inner])
    assert len(MultiSourceDataset({'pets': source})) == 2 * (COUNT - 1)


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
def test_names_that_leave_the_folders_are_refused_under_strict_paths(tmp_path, name):
    root = tmp_path / 'data'
    root.mkdir()
    listed = class_list(root)
    (root / 'train.txt').write_text(f'{name}.jpg 0\n')
    dataset = MultiSourceDataset({'pets': {**listed, 'strict_paths': True, 'bad_data': SKIP}})
    with pytest.raises(
        SourceError, match=r"source 'pets': the annotations name img_path .*outside\.jpg', which is out of"
    ):
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
