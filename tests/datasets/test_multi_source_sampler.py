from collections import Counter
from itertools import islice

import pytest
from torch.utils.data import DataLoader

from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler, multi_source_collate
from xlearner_mm.datasets import multi_source_sampler as module
from xlearner_mm.errors import ConfigError, SourceError
from xlearner_mm.testing import index_sources


def draw(sources, steps, seed=0, skip=0, **kwargs):
    """Return per step what is drawn: [(source, index within it), ...]."""
    dataset = MultiSourceDataset(sources)
    sampler = MultiSourceSampler(dataset, seed=seed, **kwargs)
    sampler.skip(skip * sampler.batch_size)
    drawn = [dataset.locate(i) for i in islice(iter(sampler), steps * sampler.batch_size)]
    return [drawn[k : k + sampler.batch_size] for k in range(0, len(drawn), sampler.batch_size)]


def of(source, steps):
    return [index for step in steps for name, index in step if name == source]


@pytest.fixture
def as_rank(monkeypatch):
    return lambda rank, world: monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, world))


def test_every_step_has_exactly_each_sources_batch_size():
    steps = draw(index_sources(a=(100, 10), b=(70, 10), c=(7, 1)), steps=10_000)
    assert {tuple(sorted(Counter(name for name, _ in step).items())) for step in steps} == {
        (('a', 10), ('b', 10), ('c', 1))
    }


def test_an_epoch_of_a_source_shows_every_image_once():
    indices = of('a', draw(index_sources(a=(12, 3), b=(5, 2)), steps=8))
    assert sorted(indices[:12]) == sorted(indices[12:24]) == list(range(12))
    assert indices[:12] != indices[12:24]


def test_two_ranks_draw_the_images_of_one_with_twice_the_batch(as_rank):
    one = draw(index_sources(a=(11, 4), b=(6, 2)), steps=20)
    as_rank(0, 2)
    first = draw(index_sources(a=(11, 2), b=(6, 1)), steps=20)
    as_rank(1, 2)
    second = draw(index_sources(a=(11, 2), b=(6, 1)), steps=20)
    for whole, left, right in zip(one, first, second, strict=True):
        for source in 'ab':
            assert of(source, [whole]) == of(source, [left]) + of(source, [right])


def test_adding_a_source_does_not_change_other_orders():
    before = draw(index_sources(a=(11, 2), b=(6, 1)), steps=30)
    after = draw(index_sources(new=(9, 3), a=(11, 2), b=(6, 1)), steps=30)
    assert of('a', before) == of('a', after)
    assert of('b', before) == of('b', after)


def test_sources_of_equal_length_have_their_own_orders():
    steps = draw(index_sources(a=(50, 5), b=(50, 5)), steps=10)
    assert of('a', steps) != of('b', steps)


def test_the_seed_matters():
    sources = index_sources(a=(50, 5))
    assert draw(sources, steps=5, seed=0) != draw(sources, steps=5, seed=1)


@pytest.mark.parametrize('stop', [1, 7, 23])
def test_skipping_equals_an_uninterrupted_run(stop):
    sources = index_sources(a=(11, 2), b=(6, 1))
    assert draw(sources, steps=5, skip=stop) == draw(sources, steps=stop + 5)[stop:]


def test_sources_of_7_and_70000_images_go_together():
    steps = draw(index_sources(small=(7, 2), large=(70_000, 8)), steps=7)
    assert Counter(of('small', steps)) == Counter(dict.fromkeys(range(7), 2))
    assert len(set(of('large', steps))) == 56


@pytest.mark.parametrize('workers', [0, 2])
def test_a_stock_loader_resumes_with_the_same_batches_and_reads_nothing_skipped(workers):
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    def batches(skip, count):
        dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
        loader = DataLoader(
            dataset,
            batch_size=3,
            sampler=MultiSourceSampler(dataset, seed=0),
            num_workers=workers,
            collate_fn=multi_source_collate,
        )
        iterator = _InfiniteDataloaderIterator(loader)
        iterator.skip_iter(skip)
        return [next(iterator) for _ in range(count)], dataset

    straight, _ = batches(0, 9)
    resumed, dataset = batches(5, 4)
    assert resumed == straight[5:]
    if workers == 0:
        assert sum(len(source.read) for source in dataset.datasets.values()) == 4 * 3


def test_an_epoch_based_loop_gets_finite_consecutive_epochs():
    dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
    sampler = MultiSourceSampler(dataset, seed=0, steps_per_epoch=4)
    endless = list(islice(iter(MultiSourceSampler(dataset, seed=0)), 24))
    assert len(sampler) == 12
    sampler.set_epoch(1)
    assert list(sampler) == endless[12:24]


def test_own_epochs_are_counted():
    dataset = MultiSourceDataset(index_sources(a=(10, 2), b=(4, 1)))
    assert MultiSourceSampler(dataset, seed=0).source_epochs(step=20) == {'a': 4.0, 'b': 5.0}


def test_skipping_part_of_a_step_is_refused():
    dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
    with pytest.raises(ConfigError, match='whole number of steps.* 3'):
        MultiSourceSampler(dataset, seed=0).skip(4)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('batch_size', [1, 2, 4, 6])
def test_batches_other_than_steps_are_refused_in_any_runner(batch_size, workers):
    dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
    loader = DataLoader(dataset, batch_size, sampler=MultiSourceSampler(dataset, seed=0), num_workers=workers)
    with pytest.raises(SourceError, match=rf'batch_size is {batch_size}.* sources.* 3 images.*=3'):
        next(iter(loader))


def test_a_sampler_without_shares_is_refused():
    dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
    with pytest.raises(SourceError, match=r"sampler.* MultiSourceSampler.*type='MultiSourceSampler'"):
        next(iter(DataLoader(dataset, 3, shuffle=True)))


def test_batches_of_the_right_size_and_of_wrong_shares_are_refused():
    dataset = MultiSourceDataset(index_sources(a=(11, 2), b=(6, 1)))
    MultiSourceSampler(dataset, seed=0)
    with pytest.raises(SourceError, match=r"batch.* {'a': 3}.* step .*{'a': 2, 'b': 1}"):
        next(iter(DataLoader(dataset, batch_sampler=[[0, 1, 2]])))


def test_other_runners_are_warned_once(monkeypatch):
    told = []
    monkeypatch.setattr('xlearner_mm.datasets.multi_source_sampler.print_log', lambda line, *args: told.append(line))
    sampler = MultiSourceSampler(MultiSourceDataset(index_sources(a=(11, 2))), seed=0)
    for _ in range(2):
        next(iter(sampler))
    (line,) = told
    assert 'XLearnerRunner.from_cfg(cfg)' in line
    sampler = MultiSourceSampler(MultiSourceDataset(index_sources(a=(11, 2))), seed=0)
    sampler.guarded = True
    next(iter(sampler))
    assert len(told) == 1
