"""Exact shares without repetition or omission, for any sources, batch sizes, seed and ranks."""

from collections import Counter
from itertools import islice
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.any_settings import FEW, MANY
from xlearner_mm.datasets import MultiSourceDataset, MultiSourceSampler
from xlearner_mm.datasets import multi_source_sampler as module
from xlearner_mm.testing import index_sources

SOURCES = st.dictionaries(
    st.sampled_from(['birds', 'cars', 'boxes', 'masks']),
    st.tuples(st.integers(1, 30), st.integers(1, 6)),
    min_size=1,
)
PLAN = st.fixed_dictionaries(
    dict(
        sources=SOURCES,
        world=st.integers(1, 4),
        seed=st.integers(0, 2**31 - 1),
        skipped=st.integers(0, 40),
        steps=st.integers(1, 8),
    )
)


def draw(sources, rank, world, seed, first, steps):
    """Return per step what a rank draws: [(source, index within it), ...]."""
    dataset = MultiSourceDataset(index_sources(**sources))
    with patch.object(module, 'get_dist_info', lambda: (rank, world)):
        sampler = MultiSourceSampler(dataset, seed=seed)
    sampler.skip(first * sampler.batch_size)
    drawn = [dataset.locate(index) for index in islice(iter(sampler), steps * sampler.batch_size)]
    return [drawn[k : k + sampler.batch_size] for k in range(0, len(drawn), sampler.batch_size)]


def check(sources, world, seed, skipped, steps):
    plan = dict(world=world, seed=seed)
    ranks = [draw(sources, rank, first=skipped, steps=steps, **plan) for rank in range(world)]

    shares = {name: size for name, (_, size) in sources.items()}
    for drawn in ranks:
        assert all(Counter(name for name, _ in step) == shares for step in drawn), 'exact shares in every step'
        whole = draw(sources, 0, first=0, steps=skipped + steps, **plan)
    assert ranks[0] == whole[skipped:], 'skipping draws what would have come'

    one = {name: (length, size * world) for name, (length, size) in sources.items()}
    alone = draw(one, 0, 1, seed, skipped, steps)
    for name, (length, size) in sources.items():
        together = [
            index
            for step in range(steps)
            for drawn in ranks
            for source, index in drawn[step]
            if source == name
        ]  # fmt: skip
        assert together == [index for step in alone for source, index in step if source == name], 'ranks are slices'
        place = skipped * world * size
        for epoch in range(-(-place // length), (place + len(together)) // length):
            start = epoch * length - place
            assert sorted(together[start : start + length]) == list(range(length)), 'every image once an epoch'


@given(plan=PLAN)
@settings(FEW, max_examples=60)
def test_shares(plan):
    check(**plan)


@pytest.mark.slow
@given(plan=PLAN)
@settings(MANY, max_examples=1000)
def test_shares_of_many(plan):
    check(**plan)
