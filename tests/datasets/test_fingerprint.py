"""Two machines' data sets have one fingerprint if and only if they hold the same."""

import copy

import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets import fingerprint as module
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.testing import TinyIndexDataset

from . import small_sources

ITEMS = [dict(img_path=f'{i}.jpg', gt_label=i % 3) for i in range(6)]


class Listed(BaseDataset):
    def __init__(self, items, **kwargs):
        self.items = copy.deepcopy(items)
        super().__init__(**kwargs)

    def load_data_list(self):
        return self.items


def changed(index, **values):
    return [{**item, **values} if i == index else item for i, item in enumerate(ITEMS)]


@pytest.mark.parametrize('serialize', [True, False])
def test_names_labels_order_and_number_count(serialize):
    def of(items):
        return fingerprint(Listed(items, serialize_data=serialize))

    others = [changed(2, img_path='x.jpg'), changed(5, gt_label=9), ITEMS[::-1], ITEMS[:-1]]
    assert of(ITEMS) == of(ITEMS)
    assert len({of(items) for items in [ITEMS, *others]}) == 5


def record(index, root, size):
    name = f'{root}{"deep/" * 45 if index % 3 == 1 else ""}{index}.jpg'
    polygon = [float(i) for i in range(size)]
    return dict(img_path=name, instances=[dict(bbox_label=index, mask=polygon)], maps=dict(seg=f'{root}{index}.png'))


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize('size', [2, 6650, 7300], ids=['small', 'about_a_frame', 'many_frames'])
def test_roots_of_other_lengths_do_not_matter_and_any_annotation_does(monkeypatch, serialize, size):
    monkeypatch.setattr(module, '_AT_ONCE', 3)

    def of(root, change=lambda items: None):
        items = [record(i, root, size + i) for i in range(8)]
        change(items)
        return fingerprint(Listed(items, data_root=root, serialize_data=serialize))

    roots = ['/d/', '/data/', '/a/much/longer/path/to/the/same/files/of/the/very/same/images/']
    assert len({of(root) for root in roots}) == 1
    changes = [lambda items, i=i: items[i]['instances'][0]['mask'].__setitem__(-1, 0.5) for i in range(8)]
    changes += [lambda items, i=i: items[i]['maps'].update(seg='/d/other.png') for i in range(8)]
    assert len({of('/d/'), *(of('/d/', change) for change in changes)}) == 17


def test_the_fingerprint_is_computed_once(monkeypatch):
    dataset = Listed(ITEMS)
    first = fingerprint(dataset)
    monkeypatch.setattr(module, '_parts', None)
    assert fingerprint(dataset) == first


def test_the_fingerprint_covers_wrapped_datasets():
    for wrap in (lambda x: RepeatDataset(x, times=2), lambda x: ConcatDataset([x, x])):
        assert fingerprint(wrap(Listed(ITEMS))) == fingerprint(wrap(Listed(ITEMS)))
        assert fingerprint(wrap(Listed(ITEMS))) != fingerprint(wrap(Listed(changed(0, gt_label=7))))


@pytest.mark.parametrize('form', small_sources.FORMS)
def test_the_fingerprint_ignores_the_folder_but_not_other_images(tmp_path, form):
    def of(folder):
        source = small_sources.FORMS[form](folder)
        return source, fingerprint(MultiSourceDataset({'pets': source}).datasets['pets'])

    (source, here), (_, there) = of(tmp_path / 'here'), of(tmp_path / 'on' / 'another' / 'drive')
    assert here == there
    picture = next((tmp_path / 'here').rglob('0.jpg'))
    picture.write_bytes(picture.read_bytes() + b'more')
    assert fingerprint(MultiSourceDataset({'pets': source}).datasets['pets']) != here


def test_other_datasets_are_compared_by_length():
    assert fingerprint(TinyIndexDataset(3)) != fingerprint(TinyIndexDataset(4))
