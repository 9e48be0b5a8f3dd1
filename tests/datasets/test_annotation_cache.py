"""Annotations that were read before are restored exactly, from files that execute nothing; changes are noticed."""

import gc
import json
import logging
import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets import annotation_cache as module
from xlearner_mm.datasets.annotation_cache import AnnotationCache
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.datasets.shared_annotations import attributes_of
from xlearner_mm.errors import ConfigError

from .small_sources import COUNT, FORMS, write_coco


@pytest.fixture(autouse=True)
def written(monkeypatch):
    """Files count as settled, and the entries' lines are kept: (level, text)."""
    lines = []
    monkeypatch.setattr(module, '_SETTLED', -1e9)
    monkeypatch.setattr(module, 'print_log', lambda text, _, level=logging.INFO: lines.append((level, text)))
    return lines


def objects(root):
    """COCO with boxes, masks, crowds, an empty image, foreign classes and an image without area."""

    def change(content):
        content['categories'] = [dict(id=7, name='dog'), dict(id=1, name='cat'), dict(id=3, name='other')]
        for own, category in zip(content['annotations'], (1, 7, 3, 7, 1, 1), strict=True):
            own.update(category_id=category, segmentation=[[20.5, 12, 40, 12, 40, 30.25]])
        content['annotations'][1]['iscrowd'] = 1
        content['annotations'].append(dict(content['annotations'][0], id=77, bbox=[0.1, 0.2, 10.3, 9.7], area=99.91))
        del content['annotations'][4]

    return coco_of(root, change)


def coco_of(root, change, **settings):
    source = FORMS['coco'](root)
    write_coco(root, change)
    dataset = dict(source['dataset'], metainfo=dict(classes=('dog', 'cat')), **settings)
    return dict(source, dataset=dataset)


def inat(root):
    (root / 'train').mkdir(parents=True)
    content = dict(
        images=[dict(id=i, file_name=f'train/{i}.jpg') for i in range(COUNT)],
        categories=[dict(id=9, name='b'), dict(id=4, name='a')],
        annotations=[dict(image_id=i, category_id=(4, 9)[i % 2]) for i in range(COUNT)],
    )
    (root / 'train.json').write_text(json.dumps(content))
    return of(root, 'INat2021')


def places(root):
    (root / 'data_256').mkdir(parents=True)
    (root / 'categories_places365.txt').write_text('/a/airfield 0\n/b/bar 1\n')
    lines = ''.join(f'/{"ab"[i % 2]}/{("airfield", "bar")[i % 2]}/{i}.jpg {i % 2}\n' for i in range(COUNT))
    (root / 'places365_train_standard.txt').write_text(lines)
    return of(root, 'Places365')


def imagenet(root):
    (root / 'train').mkdir(parents=True)
    (root / 'meta').mkdir()
    (root / 'meta' / 'train.txt').write_text(''.join(f'n{i % 2}/{i}.JPEG {i % 2}\n' for i in range(COUNT)))
    return of(root, 'ImageNet', split='train')


def listed(root):
    """MMEngine's format."""
    root.mkdir(parents=True)
    items = [dict(img_path=f'{i}.jpg', gt_label=i % 2, boxes=[[0.5, i]], name='ä') for i in range(COUNT)]
    content = dict(metainfo=dict(classes=['a', 'b']), data_list=items)
    (root / 'all.json').write_text(json.dumps(content))
    return of(root, 'BaseDataset', ann_file='all.json')


def of(root, kind, **settings):
    dataset = dict(type=kind, _scope_='mmpretrain', data_root=str(root), pipeline=[], **settings)
    return dict(task='cls', batch_size=2, dataset=dataset)


KINDS = {
    'class folders': FORMS['class_folders'],
    'class list': FORMS['class_list'],
    'coco': FORMS['coco'],
    'objects': objects,
    'inat2021': inat,
    'places365': places,
    'imagenet': imagenet,
    'list of items': listed,
}


def build(source, folder=None, **settings):
    """The dataset of one source; of a cache, also of few images."""
    cache = None if folder is None else dict(folder=str(folder), least=1)
    return MultiSourceDataset(dict(it=dict(source, **settings)), annotation_cache=cache)


def entries(folder):
    return sorted(folder.glob('*')) if folder.exists() else []


@pytest.fixture
def unread(monkeypatch):
    """Refuse that a dataset's own code reads."""

    def refuse(kind):
        def read(self):
            raise AssertionError('annotations are read again')

        monkeypatch.setattr(kind, 'load_data_list', read)

    return refuse


def assert_same(found, wanted):
    own, stock = found.datasets['it'], wanted.datasets['it']
    assert len(own) == len(stock) > 0
    for i in range(len(stock)):
        assert pickle.dumps(own.get_data_info(i)) == pickle.dumps(stock.get_data_info(i))
    assert own.metainfo == stock.metainfo
    assert np.array_equal(own.data_bytes, stock.data_bytes)
    assert np.array_equal(own.data_address, stock.data_address)
    assert own.data_address.dtype == stock.data_address.dtype
    state = attributes_of(own)
    assert state.keys() == attributes_of(stock).keys()
    for name in state:
        if name != 'prepare_data':
            assert type(getattr(own, name)) is type(getattr(stock, name))
            assert getattr(own, name) == getattr(stock, name), name
    assert fingerprint(own) == fingerprint(stock)
    assert found.images == wanted.images
    assert found.bad_images == wanted.bad_images


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_restored_is_what_is_read(kind, tmp_path, unread, written):
    source = KINDS[kind](tmp_path / 'data')
    plain = build(source)
    assert_same(build(source, tmp_path / 'cache'), plain)
    [entry] = entries(tmp_path / 'cache')
    written.clear()
    unread(type(plain.datasets['it']))
    assert_same(build(source, tmp_path / 'cache'), plain)
    assert written == [(logging.INFO, written[0][1])]
    assert str(entry) in written[0][1]


@pytest.mark.parametrize(
    'settings',
    [
        dict(filter_cfg=dict(filter_empty_gt=True, min_size=8)),
        dict(indices=3),
        dict(test_mode=True),
        dict(serialize_data=False),
        dict(return_classes=True),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_a_dataset_have_entries_of_their_own(settings, tmp_path):
    def source(**changed):
        return coco_of(tmp_path / 'data', lambda content: content['annotations'].pop(), **changed)

    others = source()
    build(others, tmp_path / 'cache')
    wanted = source(**settings)
    for _ in range(2):
        found, plain = build(wanted, tmp_path / 'cache'), build(wanted)
        if settings.get('serialize_data', True):
            assert_same(found, plain)
        else:
            own, stock = found.datasets['it'], plain.datasets['it']
            assert [own.get_data_info(i) for i in range(len(own))] == [
                stock.get_data_info(i) for i in range(len(stock))
            ]
    # The tuple of names in every item would come back as a list.
    assert len(entries(tmp_path / 'cache')) == (1 if 'return_classes' in settings else 2)


def test_a_share_of_the_images_is_the_same_share(tmp_path):
    source = KINDS['class folders'](tmp_path / 'data')
    for _ in range(2):
        assert_same(build(source, tmp_path / 'cache', data_fraction=0.5), build(source, data_fraction=0.5))


def test_images_that_are_left_out_are_so_again(tmp_path):
    def change(content):
        content['annotations'][2]['bbox'] = [0, 0, -5, 3]

    source = coco_of(tmp_path / 'data', change)
    source['dataset']['metainfo'] = dict(classes=('cat',))
    policy = dict(bad_data=dict(policy='skip', max_share=0.5))
    for _ in range(2):
        found = build(source, tmp_path / 'cache', **policy)
        assert_same(found, build(source, **policy))
        assert len(found.bad_images['it']) == 1
    assert len(entries(tmp_path / 'cache')) == 1


@pytest.mark.parametrize('kind', ['class list', 'class folders', 'places365'])
def test_a_changed_file_is_noticed(kind, tmp_path, written):
    root = tmp_path / 'data'
    source = KINDS[kind](root)
    build(source, tmp_path / 'cache')
    if kind == 'class folders':
        (root / 'train' / 'cat' / 'more.jpg').write_bytes(b'')
    elif kind == 'class list':  # of the same size, and with its former time
        path, before = root / 'train.txt', os.stat(root / 'train.txt')
        path.write_text(path.read_text().replace('0.jpg 0', '0.jpg 1'))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        (root / 'categories_places365.txt').write_text('/a/airfield 0\n/b/beach 1\n')
    written.clear()
    assert_same(build(source, tmp_path / 'cache'), build(source))
    [(_, line)] = written
    assert 'changed' in line
    assert '\n' not in line
    assert_same(build(source, tmp_path / 'cache'), build(source))
    assert len(entries(tmp_path / 'cache')) == 1


def test_files_that_may_still_change_unnoticed_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, '_SETTLED', 60.0)
    build(KINDS['coco'](tmp_path / 'data'), tmp_path / 'cache')
    assert not entries(tmp_path / 'cache')


@pytest.mark.parametrize('place', [0, 30, 50, 400, -20])
def test_a_damaged_entry_is_read_again_after_one_line(place, tmp_path, written):
    source = KINDS['class list'](tmp_path / 'data')
    build(source, tmp_path / 'cache')
    [entry] = entries(tmp_path / 'cache')
    whole = bytearray(entry.read_bytes())
    whole[place] ^= 1
    for content in (bytes(whole), bytes(whole[: len(whole) // 2]), b'', pickle.dumps({'files': []})):
        entry.write_bytes(content)
        written.clear()
        assert_same(build(source, tmp_path / 'cache'), build(source))
        [(level, line)] = written
        assert level == logging.WARNING
        assert str(entry) in line
        assert '\n' not in line


def test_an_entry_is_json_and_no_pickle(tmp_path):
    build(objects(tmp_path / 'data'), tmp_path / 'cache')
    [entry] = entries(tmp_path / 'cache')
    body = entry.read_bytes()[len(module._MAGIC) : -2 * module._NUMBER]
    decoder = json.JSONDecoder()
    items, stop = decoder.raw_decode(body.decode())
    header, end = decoder.raw_decode(body.decode(), stop)
    assert header['lengths'] == [stop]
    assert end == len(body)
    assert len(items) == COUNT


def test_an_entry_is_written_and_compared_a_chunk_at_a_time(tmp_path, monkeypatch):
    source = KINDS['class list'](tmp_path / 'data')
    part = build(source).datasets['it']
    del part.prepare_data  # which replaces the stock one after reading
    part.data_list = [dict(img_path='x' * 1000, gt_label=i % 2) for i in range(4000)]
    part.data_bytes, part.data_address = part._serialize_data()
    monkeypatch.setattr(module, '_AT_ONCE', 50)
    tracemalloc.start()
    with (tmp_path / 'entry').open('wb') as file:
        module._write(file, part, attributes_of(part), module._state_of([part.ann_file]), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < part.data_bytes.nbytes / 4


@pytest.mark.parametrize(
    'change',
    [
        lambda part: setattr(part, 'load_data_list', lambda: [dict(img_path='a.jpg', gt_label=0)]),
        lambda part: setattr(part, 'handle', (i for i in [])),
        lambda part: setattr(part, '__class__', type('Own', (type(part),), {})),
        lambda part: part._metainfo.update(palette=np.zeros(3)),
    ],
    ids=['a method replaced', 'what cannot be compared', 'another class', 'no plain data'],
)
def test_what_cannot_be_restored_exactly_is_not_kept(change, tmp_path):
    from mmpretrain.datasets import CustomDataset

    KINDS['class folders'](tmp_path / 'data')
    for changed in (True, False):
        part = CustomDataset(data_prefix=str(tmp_path / 'data' / 'train'), pipeline=[], lazy_init=True)
        if changed:
            change(part)
        found = AnnotationCache(str(tmp_path / 'cache'), 1).recall(
            part, {}, lambda part=part: part.full_init() or 'all'
        )
        assert found == 'all'
        assert len(entries(tmp_path / 'cache')) == (0 if changed else 1)


def test_items_that_json_does_not_keep_are_not_kept(tmp_path):
    source = listed(tmp_path / 'data')
    dataset = build(source).datasets['it']
    for value, kept in (([1, 2], 1), ((1, 2), 0), ({1: 2}, 0), (np.float32(1), 0), (b'a', 0)):
        folder = tmp_path / f'cache of {type(value).__name__}'
        part = type(dataset)(ann_file=dataset.ann_file, data_root=dataset.data_root, pipeline=[], lazy_init=True)

        def read(part=part, value=value):
            part.data_list = [dict(img_path='a', value=value)]
            part.data_bytes, part.data_address = part._serialize_data()
            part._fully_initialized = True

        AnnotationCache(str(folder), 1).recall(part, {}, read)
        assert len(entries(folder)) == kept


def test_small_datasets_are_not_kept(tmp_path):
    source = KINDS['class folders'](tmp_path / 'data')
    for least, kept in ((COUNT + 1, 0), (COUNT, 1)):
        cache = dict(folder=str(tmp_path / 'cache'), least=least)
        MultiSourceDataset(dict(it=source), annotation_cache=cache)
        assert len(entries(tmp_path / 'cache')) == kept
    MultiSourceDataset(dict(it=source), annotation_cache=str(tmp_path / 'other'))
    assert not entries(tmp_path / 'other')


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, written):
    source = KINDS['coco'](tmp_path / 'data')
    (tmp_path / 'cache').write_text('a file')
    assert_same(build(source, tmp_path / 'cache'), build(source))
    [(level, line)] = written
    assert level == logging.WARNING
    assert 'cannot be written' in line


@pytest.mark.parametrize('setting', [dict(folder='a', size=3), dict(least=3), 7])
def test_an_unknown_setting_is_refused(setting):
    with pytest.raises(ConfigError, match='annotation_cache'):
        AnnotationCache.parse(setting)


PROCESS = """
import sys
from xlearner_mm.datasets import annotation_cache as module
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.datasets import MultiSourceDataset
module._SETTLED = -1e9
source = dict(task='cls', batch_size=2, dataset=dict(
    type='CustomDataset', _scope_='mmpretrain', data_prefix=sys.argv[1], pipeline=[]))
dataset = MultiSourceDataset(dict(it=source), annotation_cache=dict(folder=sys.argv[2], least=1))
print(fingerprint(dataset.datasets['it']), dataset.images)
"""


def test_processes_that_start_together_read_the_same_and_share_one_entry(tmp_path):
    KINDS['class folders'](tmp_path / 'data')
    command = [sys.executable, '-c', PROCESS, str(tmp_path / 'data' / 'train'), str(tmp_path / 'cache')]

    def start(seed):
        env = dict(os.environ, PYTHONHASHSEED=str(seed))
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    outputs = [process.communicate()[0].splitlines()[-1] for process in [start(seed) for seed in (1, 2)]]
    assert outputs[0] == outputs[1]
    assert len(entries(tmp_path / 'cache')) == 1


@pytest.mark.parametrize('enabled', [True, False])
def test_the_garbage_collector_is_as_before(enabled, tmp_path, monkeypatch):
    source = KINDS['class folders'](tmp_path / 'data')
    states = []
    monkeypatch.setattr(module, '_fill', lambda *_: states.append(gc.isenabled()) or 1 / 0)
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        for _ in range(2):
            build(source, tmp_path / 'cache')
            assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert states == [False]
