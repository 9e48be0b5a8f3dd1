"""Augmentations depend only on an image's place in its source's stream."""

import pickle
import random
import tracemalloc
import zlib
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.datasets.stream_index import StreamIndex, augmentation_seeds, stream_image, stream_order
from xlearner_mm.registry import DATASETS
from xlearner_mm.testing import TinyIndexDataset, index_sources


@DATASETS.register_module()
class DrawingDataset(TinyIndexDataset):
    """Items are what the three generators give."""

    def __getitem__(self, index):
        return random.random(), float(np.random.rand()), float(torch.rand(()))


SIZES = dict(a=2, b=3)


def drawing(sizes=SIZES):
    sources = index_sources(**{name: (7, size) for name, size in sizes.items()})
    for source in sources.values():
        source['dataset']['type'] = 'DrawingDataset'
    dataset = MultiSourceDataset(sources)
    return dataset, MultiSourceSampler(dataset, seed=3)


def drawn(sizes=SIZES, steps=range(3), rank=0, world=1):
    dataset, sampler = drawing(sizes)
    sampler.rank, sampler.world_size = rank, world
    items = [dataset[index] for step in steps for index in sampler.step_indices(step)]
    return {name: [item['data'] for item in items if item['source'] == name] for name in sizes}


def test_every_image_has_its_own_random_numbers():
    items = [item for source in drawn().values() for item in source]
    assert len({number for item in items for number in item}) == 3 * len(items)


def test_order_does_not_depend_on_earlier_draws():
    first = drawn()
    random.random(), np.random.rand(), torch.rand(())
    assert drawn() == first
    assert drawn(steps=[2])['a'] == first['a'][4:]


def test_order_does_not_depend_on_other_sources_or_ranks():
    assert drawn(dict(a=2))['a'] == drawn()['a']
    halves = [drawn(dict(a=1), rank=rank, world=2)['a'] for rank in range(2)]
    assert [item for pair in zip(*halves, strict=True) for item in pair] == drawn()['a']


@pytest.mark.parametrize('whole_batches', [False, True])
def test_random_numbers_of_the_model_are_unaffected(whole_batches):
    dataset, sampler = drawing()

    def own():
        return random.random(), random.gauss(0, 1), *np.random.randn(1), *np.random.rand(2), *torch.rand(2).tolist()

    def start():
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        return own()  # one of a pair of normal numbers, of which the generators keep the other

    first = start()
    expected = own()
    assert start() == first
    indices = sampler.step_indices(0)
    items = dataset.__getitems__(indices) if whole_batches else [dataset[index] for index in indices]
    assert len(items) == sum(SIZES.values())
    assert own() == expected


@pytest.mark.parametrize('workers', [1, 2])
def test_batches_and_workers_have_the_random_numbers_of_single_images(workers):
    dataset, sampler = drawing()
    loader = DataLoader(dataset, sampler.batch_size, sampler=sampler, num_workers=workers, collate_fn=list)
    found = [item for batch in islice(loader, 3) for item in batch]
    assert {name: [item['data'] for item in found if item['source'] == name] for name in SIZES} == drawn()


def test_the_seed_of_a_place_is_fixed():
    """Results of earlier trainings stay comparable."""
    places = [(3, 'a', 9), (3, 'b', 0), (2**32 - 1, 'a', 7), (5, 'a', 2**31)]
    larger = [*places, (2**32, 'a', 9), (3, 'a', 2**40)]
    for several in (places, larger):
        entropies = [[seed, zlib.crc32(source.encode()), position, 1] for seed, source, position in several]
        plain = [int(np.random.SeedSequence(entropy).generate_state(1)[0]) for entropy in entropies]
        assert augmentation_seeds(several) == plain


def test_a_stream_index_can_be_pickled():
    index = pickle.loads(pickle.dumps(StreamIndex(4, (1, 'a', 9))))
    assert index == 4
    assert index.place == (1, 'a', 9)


def test_orders_of_at_most_two_epochs_are_kept():
    length, epochs = 100_000, 20
    tracemalloc.start()
    try:
        for position in range(0, epochs * length, length // 2):
            stream_image((5, 'big', position), length)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2.5 * 4 * length


@pytest.mark.parametrize('length', [1, 7, 300, 70_000])
def test_an_order_holds_every_image_once_and_is_the_same_when_asked_for_again(length):
    first = stream_order(3, 'a', 4, length).copy()
    assert np.array_equal(np.sort(first), np.arange(length))
    for epoch in range(8):
        stream_order(3, 'a', epoch, length)
    assert np.array_equal(stream_order(3, 'a', 4, length), first)
