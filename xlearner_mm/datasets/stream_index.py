"""An index into a dataset that knows where in its source's stream it was drawn."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

Place = tuple[int, str, int]
# Tells these seeds from those of the permutations, which come of a source and an epoch.
_AUGMENTATION = 1


# A stream is in one epoch or crossing into the next: a source needs two permutations at a time.
_KEPT_EPOCHS = 2
_KEPT_STREAMS = 64
_orders: dict[tuple[int, str, int], dict[int, np.ndarray]] = {}


def stream_order(seed: int, source: str, epoch: int, length: int) -> np.ndarray:
    """Return the order of a source's images in one of its own epochs, ``(length,)``.

    The last two epochs asked for are kept per source, in 4 bytes an image.
    """
    stream = (seed, source, length)
    orders = _orders[stream] = _orders.pop(stream, {})  # the last one used is the last to go
    if len(_orders) > _KEPT_STREAMS:
        del _orders[next(iter(_orders))]
    if epoch not in orders:
        if len(orders) == _KEPT_EPOCHS:
            del orders[next(iter(orders))]
        entropy = [seed, zlib.crc32(source.encode()), epoch]
        order = np.random.default_rng(entropy).permutation(length)
        orders[epoch] = order.astype(np.min_scalar_type(length - 1))
    return orders[epoch]


def stream_image(place: Place, length: int) -> int:
    """Return the image at a place of the endless stream of a source of ``length`` images."""
    seed, source, position = place
    epoch, rank = divmod(position, length)
    return int(stream_order(seed, source, epoch, length)[rank])


class StreamIndex(int):
    """An index with its place (seed, source, position in the source's endless stream).

    What an image's augmentation draws is a function of its place alone: the same with any number of workers or
    processes, and after any interruption.

    Args:
        index: the index itself.
        place: seed of all streams, name of the source, position in its stream.
    """

    place: Place

    def __new__(cls, index: int, place: Place) -> StreamIndex:
        """Make an int that carries its place."""
        self = super().__new__(cls, index)
        self.place = place
        return self

    def __getnewargs__(self) -> tuple[int, Place]:  # type: ignore[override]
        """Travel to the workers of a loader with its place."""
        return int(self), self.place

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Let Python, NumPy and torch (CPU) draw from this place's seed within, and as before after it."""
        seed, source, position = self.place
        number = int(
            np.random.SeedSequence([seed, zlib.crc32(source.encode()), position, _AUGMENTATION]).generate_state(1)[0]
        )
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(number)
        np.random.seed(number)
        # torch.manual_seed would also reset the GPU's generator, which is the model's.
        torch.default_generator.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
