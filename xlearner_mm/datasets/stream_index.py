"""Order and augmentation seed of a source's endless stream of images."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import get_worker_info

Place = tuple[int, str, int]
_AUGMENTATION = 1  # separates these seeds from those of the permutations, made of source and epoch
_KEPT_EPOCHS = 2  # a batch may cross into the next epoch
_KEPT_STREAMS = 64
_orders: dict[tuple[int, str, int], dict[int, np.ndarray]] = {}


def stream_order(seed: int, source: str, epoch: int, length: int) -> np.ndarray:
    """Return the permutation of a source's images in one of its own epochs, ``(length,)``.

    The last two epochs are cached per source, in 4 bytes an image.
    """
    stream = (seed, source, length)
    orders = _orders[stream] = _orders.pop(stream, {})  # the least recently used is dropped first
    if len(_orders) > _KEPT_STREAMS:
        del _orders[next(iter(_orders))]
    if epoch not in orders:
        if len(orders) == _KEPT_EPOCHS:
            del orders[next(iter(orders))]
        order = np.random.default_rng([seed, zlib.crc32(source.encode()), epoch]).permutation(length)
        orders[epoch] = order.astype(np.min_scalar_type(length - 1))
    return orders[epoch]


def stream_image(place: Place, length: int) -> int:
    """Return the image at a place of the stream of a source of ``length`` images."""
    seed, source, position = place
    epoch, rank = divmod(position, length)
    return int(stream_order(seed, source, epoch, length)[rank])


class StreamIndex(int):
    """An index with its place in its source's stream, of which augmentation is a pure function.

    So it is the same with any number of workers or processes, and after any interruption.

    Args:
        index: the index itself.
        place: seed of all streams, name of the source, position in its stream.
    """

    place: Place

    def __new__(cls, index: int, place: Place) -> StreamIndex:
        """Return an int that carries its place."""
        self = super().__new__(cls, index)
        self.place = place
        return self

    def __getnewargs__(self) -> tuple[int, Place]:  # type: ignore[override]
        """Keep the place when pickled for the workers of a dataloader."""
        return int(self), self.place


def augmentation_seeds(places: Iterable[Place]) -> list[int]:
    """Return the seeds of the augmentation at places of streams, for :func:`seed_generators`."""
    entropies: Any = [[seed, zlib.crc32(source.encode()), place, _AUGMENTATION] for seed, source, place in places]
    if all(0 <= number < 1 << 32 for entropy in entropies for number in entropy):
        # The same to NumPy, which converts a list of numbers more slowly than it hashes them.
        entropies = np.array(entropies, np.uint32)
    return [int(np.random.SeedSequence(entropy).generate_state(1)[0]) for entropy in entropies]


def seed_generators(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU), within :func:`restored_generators`."""
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would also reset the GPU's generator, which the model uses.
    torch.default_generator.manual_seed(seed)


@contextmanager
def restored_generators() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's (CPU) generators afterwards.

    Not in a loader's worker, where nothing else draws; it takes as long as decoding a small picture.
    """
    if get_worker_info() is not None:
        yield
        return
    kind, key, *rest = cast('tuple[Any, ...]', np.random.get_state())
    # From a list, NumPy restores the state much faster than from its own array.
    states = random.getstate(), (kind, key.tolist(), *rest), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
