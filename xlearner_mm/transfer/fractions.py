"""A seeded share of a data set's training images, made once and recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlearner_mm.errors import ConfigError
from xlearner_mm.registry import DATASETS


@dataclass(frozen=True)
class Part:
    """The images used of one data set that others may be concatenated with.

    Args:
        dataset: its type.
        total: how many images it has.
        indices: those that are used, rising.
    """

    dataset: str
    total: int
    indices: tuple[int, ...]


def draw_fraction(dataset: dict[str, Any], name: str, fraction: float, seed: int, scope: str) -> dict[str, Any]:
    """Reduce a config's training set to a share of its images, through the ``indices`` of its stock data sets.

    Images of a classification set are drawn class by class, so that every class keeps its share and at least one
    image. The smaller of two shares of one seed is part of the larger, but for rounding.

    Args:
        dataset: a data set's config, whose innermost data sets get ``indices``; wrappers are looked through.
        name: of the transfer set; it and ``seed`` decide what is drawn.
        fraction: share of the images, above 0 and at most 1.
        seed: whatever tells one draw from another.
        scope: the library whose data sets these are.

    Returns:
        The record: ``set``, ``seed``, ``fraction``, ``parts`` and a ``digest`` of the indices.

    Raises:
        ConfigError: the config chooses ``indices`` already.
    """
    parts = [
        _draw(leaf, f'{name}/{seed}/{number}', fraction, scope) for number, leaf in enumerate(leaf_datasets(dataset))
    ]
    return {
        'set': name,
        'seed': seed,
        'fraction': fraction,
        'digest': hashlib.sha256(json.dumps([part.indices for part in parts]).encode()).hexdigest(),
        'parts': [{'dataset': part.dataset, 'total': part.total, 'indices': list(part.indices)} for part in parts],
    }


def leaf_datasets(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configs of the data sets within wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from leaf_datasets(inner)
    elif 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'])
    else:
        yield dataset


def stratified(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of a share of every class, rising.

    Args:
        labels: ``(N,)``, the class of every image.
        fraction: share of each class, of which at least one image is taken.
        rng: what draws.
    """
    chosen = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(chosen))


def _draw(leaf: dict[str, Any], key: str, fraction: float, scope: str) -> Part:
    if leaf.get('indices') is not None:
        raise ConfigError(f'{leaf["type"]} chooses indices already: leave the choice to data_fraction')
    built = DATASETS.build({**leaf, 'pipeline': [], '_scope_': scope})
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], 'big'))
    if hasattr(built, 'get_gt_labels'):
        chosen = stratified(built.get_gt_labels(), fraction, rng)
    else:
        chosen = np.sort(rng.permutation(len(built))[: max(1, round(fraction * len(built)))])
    indices = tuple(int(index) for index in chosen)
    leaf['indices'] = list(indices)
    return Part(leaf['type'], len(built), indices)
