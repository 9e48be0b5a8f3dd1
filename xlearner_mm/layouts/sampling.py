"""Seeded samples of a source's images: the validation split, image sizes, and images in both parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np

from xlearner_mm.datasets.classes import shortened
from xlearner_mm.datasets.integrity.picture import open_picture, unlimited_pictures
from xlearner_mm.layouts.folder import Folder
from xlearner_mm.layouts.layout import Sizes
from xlearner_mm.spread import stratified

VAL_SHARE = 0.1
"""Share of the images that a seeded split takes for validation."""
_OPENED = 200  # training images that are decoded, and half as many for validation
_COMPARED = 1000  # validation images that are looked for in the training part
_AT_ONCE = 64  # images that a thread opens one after another
_SEARCHED = 20_000  # training images of the same size in bytes that are read for it


def draw_split(
    folder: Folder, images: Sequence[str], seed: int, labels: Sequence[int] | None = None
) -> tuple[list[int], list[int]]:
    """Draw a validation part, class by class where images have one class.

    Args:
        folder: for the error and the note.
        images: all images.
        seed: of the draw.
        labels: their classes. Defaults to None.

    Returns:
        Indices of the training and the validation part, ascending. Every class keeps an image for training.

    Raises:
        SourceError: too few images.
    """
    if len(images) < 2:
        raise folder.refusal(
            f'holds {len(images)} image with labels; expected at least 2, one to validate on: add more'
        )
    known = np.zeros(len(images), int) if labels is None else np.asarray(labels)
    alone = np.bincount(known)[known] == 1
    drawn = stratified(known, VAL_SHARE, np.random.default_rng(seed))
    val = drawn[~alone[drawn]]
    if not len(val):
        raise folder.refusal('holds one image of every class; expected two of some, one to validate on: add more')
    how = '' if labels is None else ', class by class'
    folder.notes.append(
        f'it has no validation part: {len(val):,} of {len(images):,} images are drawn for it{how}, with seed {seed}'
    )
    if alone.any():
        folder.note_some('images that are the only one of their class, all for training', _at(images, alone))
    return np.setdiff1d(np.arange(len(images)), val).tolist(), val.tolist()


def sample(images: Sequence[str], count: int, seed: int) -> list[str]:
    """Return a seeded choice of images without repetition, in their order."""
    if len(images) <= count:
        return list(images)
    chosen = np.random.default_rng(seed).choice(len(images), count, replace=False)
    return [images[index] for index in np.sort(chosen)]


def measure_sizes(folder: Folder, train: Sequence[str], val: Sequence[str], seed: int) -> Sizes:
    """Decode a sample of the images of both parts, and return the sizes of those for training.

    Raises:
        BadImageError: one cannot be read.
    """
    shown_sizes(folder, sample(val, _OPENED // 2, seed), decode=True)
    found = shown_sizes(folder, sample(train, _OPENED, seed), decode=True)
    short, long = (int(side) for side in np.median(np.sort(found, axis=1), axis=0))
    by_area = sorted(found, key=lambda size: (size[0] * size[1], size))
    return Sizes(short, long, by_area[0], by_area[-1])


def shown_sizes(folder: Folder, images: Sequence[str], decode: bool = False) -> list[tuple[int, int]]:
    """Return width and height of all these images as shown, that is, rotated by their EXIF orientation.

    Args:
        folder: of the images.
        images: their paths within it.
        decode: read them whole, and not their headers alone. Defaults to False.

    Raises:
        BadImageError: one cannot be read.
    """
    read = partial(open_picture, decode=decode, as_shown=True)
    chunks = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
    with unlimited_pictures(), ThreadPoolExecutor() as pool:
        opened = pool.map(lambda chunk: [read(folder.at(image)) for image in chunk], chunks)
        found = [each for chunk in opened for each in chunk]
    sizes = []
    for image, (size, reason) in zip(images, found, strict=True):
        if size is None:
            raise folder.bad_image(image, str(reason))
        sizes.append(size)
    return sizes


def note_shared_images(folder: Folder, train: Iterable[str], val: Sequence[str], seed: int) -> None:
    """Note the images of the validation part, or of a sample of it, whose bytes the training part has as well."""
    tried = sample(val, _COMPARED, seed)
    size = partial(_size_of, folder)
    sizes = {size(image) for image in tried} - {None}
    of_same_size = sample([image for image in train if size(image) in sizes], _SEARCHED, seed)
    twins = {_digest(folder, image): image for image in of_same_size}
    pairs = [(image, twins.get(_digest(folder, image))) for image in tried if twins and size(image)]
    shared = [f'{image} = {twin}' for image, twin in pairs if twin is not None]
    if shared:
        folder.notes.append(
            f'{len(shared):,} of {len(tried):,} validation images that were compared are training images as well, so '
            f'its metric is too high: {shortened(shared)}'
        )


def _at(images: Sequence[str], chosen: np.ndarray) -> list[str]:
    return [images[index] for index in np.flatnonzero(chosen)]


def _size_of(folder: Folder, image: str) -> int | None:
    """Return the bytes of a file; None for a link to nothing, which is reported when the image is read."""
    with suppress(OSError):
        return os.stat(folder.at(image)).st_size
    return None


def _digest(folder: Folder, image: str) -> bytes:
    with open(folder.at(image), 'rb') as file:
        return hashlib.sha256(file.read()).digest()
