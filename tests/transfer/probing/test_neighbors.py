import numpy as np
import pytest

from xlearner_mm.transfer.probing.features import Features
from xlearner_mm.transfer.probing.run import neighbor_scores


def bank(values, labels):
    return Features(np.array(values, dtype=np.float32), np.array(labels), np.array([str(i) for i in labels]))


def test_neighbors_vote_by_their_cosine():
    training = bank([[1, 0], [0, 1], [-1, 0]], [0, 1, 2])
    scores = neighbor_scores(training, np.array([[10.0, 0]], dtype=np.float32), 3, neighbors=2, temperature=0.5)
    weights = np.exp(np.array([1, 0, -np.inf]) / 0.5)
    assert scores[0] == pytest.approx(weights / weights.sum(), abs=1e-6)


def test_rows_sum_to_one_for_any_chunk_size():
    rng = np.random.default_rng(0)
    training = bank(rng.normal(size=(30, 4)), np.arange(30) % 3)
    queries = rng.normal(size=(7, 4)).astype(np.float32)
    whole, parts = (neighbor_scores(training, queries, 3, chunk=chunk) for chunk in (100, 2))
    assert whole == pytest.approx(parts, abs=1e-6)
    assert whole.sum(axis=1) == pytest.approx(1)
