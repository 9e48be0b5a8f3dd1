"""Processes of one machine hold annotations once: one reads, the others look at its memory; nothing is left behind."""

import json
import os
import pickle
import signal
import tempfile

import numpy as np
import psutil
import pytest
import torch.distributed as dist
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader

from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.datasets import shared_annotations as module
from xlearner_mm.datasets.fingerprint import fingerprint
from xlearner_mm.datasets.shared_annotations import (
    SharedArray,
    SharedItems,
    SharedMemory,
    give_back_freed,
    is_copy,
    read_once,
    write_arrays,
)
from xlearner_mm.datasets.stock_datasets import leaves
from xlearner_mm.engine.runner import XLearnerRunner
from xlearner_mm.errors import SourceError
from xlearner_mm.registry import DATASETS

from ..engine.ranks import run_ranks
from . import small_sources

COUNT = 300


@DATASETS.register_module()
class CountedReads(BaseDataset):
    """Reads a JSON file, notes every read in a file beside it, and learns its classes from it."""

    def load_data_list(self):
        with open(f'{self.ann_file}.reads', 'a') as file:
            file.write(f'{os.getpid()}\n')
        self.groups = {0: list(range(3))}
        return super().load_data_list()

    def prepare_data(self, index):
        return self.get_data_info(index)['label']


def write_list(folder, count=COUNT, name='all.json'):
    folder.mkdir(parents=True, exist_ok=True)
    items = [dict(img_path=f'{folder}/{i}.jpg', label=i, boxes=[[0.5, i]]) for i in range(count)]
    (folder / name).write_text(json.dumps(dict(metainfo=dict(classes=['a', 'b']), data_list=items)))
    return folder / name


def reads(path):
    return len(open(f'{path}.reads').readlines())


def unread(path, **settings):
    return CountedReads(ann_file=str(path), lazy_init=True, data_prefix={}, **settings)


def content(dataset):
    return [dataset[i] for i in range(len(dataset))]


KINDS = {
    'plain': lambda path: unread(path),
    'not serialized': lambda path: unread(path, serialize_data=False),
    'some of it': lambda path: unread(path, indices=100),
    'repeated': lambda path: RepeatDataset(unread(path), times=2, lazy_init=True),
    'concatenated': lambda path: ConcatDataset([unread(path), unread(path, indices=7)], lazy_init=True),
    'read when built': lambda path: CountedReads(ann_file=str(path), data_prefix={}),
}


@pytest.mark.parametrize('kind', KINDS)
def test_all_processes_share_what_the_reader_read(tmp_path, kind):
    path = write_list(tmp_path)

    def work(rank):
        dataset = KINDS[kind](path)
        parts = list(leaves(dataset))
        told = read_once(lambda: (dataset.full_init(), {'read by': rank})[1], parts)
        loaded = [int(i) for batch in DataLoader(dataset, batch_size=50, num_workers=1) for i in batch]
        held = [part.data_bytes if part.serialize_data else part.data_list.data for part in parts]
        return dict(
            told=told,
            content=content(dataset),
            loaded=loaded,
            shared=all(isinstance(array, SharedArray) for array in held),
            copy=is_copy(parts),
            learned=[(part.metainfo, part.groups, part.data_list[:1]) for part in parts],
            print=fingerprint(dataset),
        )

    first, second = run_ranks(work, tmp_path / 'ranks')
    alone = KINDS[kind](path)
    alone.full_init()
    assert first['content'] == second['content'] == first['loaded'] == second['loaded'] == content(alone)
    assert first['print'] == second['print'] == fingerprint(alone)
    assert first['learned'] == second['learned']
    assert first['told'] == second['told'] == {'read by': 0}
    assert (first['shared'], second['shared']) == (True, True)
    assert (first['copy'], second['copy']) == (False, True)
    parts = len(list(leaves(alone)))
    assert reads(path) == (2 * parts if kind == 'read when built' else parts) + parts  # the last ones alone


def test_processes_with_other_files_read_for_themselves(tmp_path):
    paths = [write_list(tmp_path, 5, 'a.json'), write_list(tmp_path, 7, 'b.json')]

    def work(rank):
        dataset = unread(paths[rank])
        read_once(dataset.full_init, [dataset])
        return len(dataset), is_copy([dataset])

    assert run_ranks(work, tmp_path / 'ranks') == [(5, False), (7, False)]


def test_other_settings_of_the_same_file_are_read_separately(tmp_path):
    path = write_list(tmp_path)

    def work(rank):
        dataset = unread(path, indices=10 + rank)
        read_once(dataset.full_init, [dataset])
        return len(dataset)

    assert run_ranks(work, tmp_path / 'ranks') == [10, 11]


def test_processes_without_access_to_the_memory_read_for_themselves(tmp_path, monkeypatch):
    path = write_list(tmp_path)

    def refused(address):
        raise PermissionError('another container')

    monkeypatch.setattr(SharedMemory, 'at', refused)

    def work(rank):
        dataset = unread(path)
        read_once(dataset.full_init, [dataset])
        return len(dataset), is_copy([dataset])

    assert run_ranks(work, tmp_path / 'ranks') == [(COUNT, False)] * 2


def test_without_shared_memory_every_process_reads(tmp_path, monkeypatch):
    path = write_list(tmp_path)

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)

    def work(rank):
        dataset = unread(path)
        read_once(dataset.full_init, [dataset])
        return len(dataset), is_copy([dataset])

    assert run_ranks(work, tmp_path / 'ranks') == [(COUNT, False)] * 2


def test_all_processes_raise_the_error_of_the_reader(tmp_path):
    def work(rank):
        def read():
            raise SourceError(f"source 'x': rank {rank} reads no such file")

        try:
            read_once(read, [unread(tmp_path / 'none.json')])
        except SourceError as error:
            return str(error)

    assert run_ranks(work, tmp_path / 'ranks') == ["source 'x': rank 0 reads no such file"] * 2


@pytest.mark.parametrize('form', small_sources.FORMS)
def test_sources_of_every_library_are_held_once(tmp_path, form):
    source = small_sources.FORMS[form](tmp_path / 'data')

    def work(rank):
        dataset = MultiSourceDataset({'pets': source})
        inner = dataset.datasets['pets']
        parts = list(leaves(inner))
        infos = [part.get_data_info(i) for part in parts for i in range(len(part))]
        return repr(infos), repr(inner.metainfo), dataset.bad_images, is_copy(parts), fingerprint(inner)

    first, second = run_ranks(work, tmp_path / 'ranks')
    assert first[:3] == second[:3]
    assert first[4] == second[4]
    assert (first[3], second[3]) == (False, True)


def test_a_share_and_its_count_of_bad_images_are_the_same_in_all_processes(tmp_path):
    source = small_sources.coco(tmp_path / 'data')
    small_sources.write_coco(tmp_path / 'data', lambda content: content['annotations'][0].update(area=0))
    source.update(data_fraction=0.6, bad_data=dict(policy='skip', max_share=0.3))

    def work(rank):
        dataset = MultiSourceDataset({'pets': source})
        pets = dataset.datasets['pets']
        with pytest.raises(SourceError, match='1 of 3 images are bad'):
            dataset.refuse_more('pets', {**dataset.bad_images['pets'], 'other': 'cannot be read'})
        return [pets.get_data_info(i)['img_path'] for i in range(len(pets))], dataset.images, is_copy([pets])

    (*first, one), (*second, other) = run_ranks(work, tmp_path / 'ranks')
    assert first == second
    assert (len(first[0]), first[1], one, other) == (3, {'pets': 3}, False, True)


def test_the_loader_of_a_stock_data_set_is_read_once_too(tmp_path):
    path = write_list(tmp_path)
    config = dict(type='CountedReads', ann_file=str(path), data_prefix={})

    def work(rank):
        sampler = dict(type='DefaultSampler', shuffle=False)
        loader = XLearnerRunner.build_dataloader(dict(batch_size=10, num_workers=0, dataset=config, sampler=sampler))
        return len(loader.dataset), is_copy([loader.dataset]), isinstance(loader.dataset.data_bytes, SharedArray)

    assert run_ranks(work, tmp_path / 'ranks') == [(COUNT, False, True), (COUNT, True, True)]
    assert reads(path) == 1


def test_a_single_process_is_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'write_arrays', None)
    dataset = unread(write_list(tmp_path))
    read_once(dataset.full_init, [dataset])
    assert not isinstance(dataset.data_bytes, SharedArray)


@pytest.mark.parametrize('nameless', ['memory', 'file'])
def test_a_killed_process_leaves_nothing_behind(tmp_path, monkeypatch, nameless):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    if nameless == 'file':
        monkeypatch.setattr(os, 'memfd_create', lambda *args: (_ for _ in ()).throw(OSError(38, 'not there')))
    told, child_told = os.pipe()
    child = os.fork()
    if child == 0:
        memory, _ = write_arrays([np.arange(1000)])
        os.write(child_told, pickle.dumps(memory.address))
        signal.pause()
    address = pickle.loads(os.read(told, 1000))
    held = SharedArray.of(SharedMemory.at(address), 64, 'i8', 1000)
    assert os.listdir(tmp_path / 'temporary') == []
    assert os.readlink(f'/proc/{address.process}/fd/{address.file}').endswith(' (deleted)')  # it has no name
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert held.sum() == 499500  # what others look at stays as long as they do
    with pytest.raises(OSError, match=str(child)):
        SharedMemory.at(address)


def test_a_reused_pid_is_not_taken_for_the_owner():
    memory, _ = write_arrays([np.arange(10)])
    with pytest.raises(FileNotFoundError, match=str(os.getpid())):
        SharedMemory.at(memory.address._replace(inode=(1, 2)))


def test_a_spawned_worker_gets_the_address_and_a_part_is_copied(tmp_path):
    memory, places = write_arrays([np.arange(100_000)])
    array = SharedArray.of(memory, *places[0])
    assert len(pickle.dumps(array)) < 500
    part = pickle.loads(pickle.dumps(array[5:8]))
    assert part.tolist() == [5, 6, 7]
    content, process = pickle.dumps(array), os.getpid()

    def work(rank):
        found = pickle.loads(content)
        return int(found.sum()), found.memory.address.inode == memory.address.inode, os.getpid() != process

    assert run_ranks(work, tmp_path, world=1) == [(4999950000, True, True)]


def test_memory_of_parsing_is_released():
    def held():
        return psutil.Process().memory_full_info().uss

    before = held()
    kept = [bytes(1000) for _ in range(100_000)]
    last = kept[-1]
    del kept
    give_back_freed()
    assert held() - before < 20e6
    assert len(last) == 1000


def test_items_are_those_of_a_list():
    items = [dict(a=i) for i in range(5)]
    each = [pickle.dumps(item) for item in items]
    shared = SharedItems(np.frombuffer(b''.join(each), np.uint8), np.cumsum([len(e) for e in each]))
    assert list(shared) == items
    assert shared[1:3] == items[1:3]
    assert shared[-1] == items[-1]
    with pytest.raises(IndexError):
        shared[5]


def test_ranks_without_a_common_dataset_do_not_deadlock(tmp_path):
    path = write_list(tmp_path)

    def work(rank):
        parts = [unread(path)] if rank else []
        read_once(lambda: [part.full_init() for part in parts], parts)
        dist.barrier()
        return len(parts)

    assert run_ranks(work, tmp_path / 'ranks') == [0, 1]
