from __future__ import annotations

import numpy as np

from xlearner_mm.mini.depth import FARTHEST, NEAREST, room


def depths(count):
    return np.stack([room(np.random.default_rng(i), i, False).depth for i in range(count)])


def test_depth_is_in_range_and_finite():
    depth = depths(10)
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all()
    assert NEAREST <= depth.min() < depth.max() <= FARTHEST


def test_the_mean_depth_is_a_poor_guess():
    depth = depths(60)
    for guess in (depth[:30].mean(), np.exp(np.log(depth[:30]).mean(0))):
        ratio = np.maximum(depth[30:] / guess, guess / depth[30:])
        assert (ratio < 1.25).mean() < 0.45


def test_lower_positions_are_nearer():
    depth = depths(30)
    assert np.median(depth[:, -1].mean(1) / depth[:, 24].mean(1)) < 0.8
