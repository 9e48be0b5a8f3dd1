"""Conversions to class folders: objects, hand signs, CIFAR-10."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from xlearner_mm.photos.pictures import first, names_in, open_picture, save_photo


def convert_objects(
    repository: Path,
    out: Path,
    classes: int = 100,
    train: Sequence[int] = range(250),
    val: Sequence[int] = range(480, 500),
) -> None:
    """Convert the first classes of Tiny-ImageNet-200 by name.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        classes: number of classes. Defaults to 100.
        train: numbers of the images of each class for training. Defaults to 0 to 249.
        val: numbers for validation. Defaults to 480 to 499.
    """
    folder = repository / 'tiny-imagenet-200' / 'train'
    for name in first(names_in(folder), classes, folder):
        for split, numbers in (('train', train), ('val', val)):
            paths = [folder / name / 'images' / f'{name}_{number}.JPEG' for number in numbers]
            _write_numbered(paths, out / split / name)


def convert_signs(repository: Path, out: Path, train: int = 160) -> None:
    """Convert the hand signs: the first of each digit by name are for training, the others for validation.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        train: images of each digit for training. Defaults to 160.
    """
    folder = repository / 'Dataset'
    for digit in names_in(folder):
        names = names_in(folder / digit)
        first(names, train + 1, folder / digit)
        for split, chosen in (('train', names[:train]), ('val', names[train:])):
            _write_numbered([folder / digit / name for name in chosen], out / split / digit)


def convert_cifar10(repository: Path, out: Path, train: int = 400, test: int = 200) -> None:
    """Convert the first images of each class of CIFAR-10 by name, enlarged from 32 px.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        train: training images of each class. Defaults to 400.
        test: test images of each class. Defaults to 200.
    """
    for split, count in (('train', train), ('test', test)):
        for name in names_in(repository / split):
            folder = repository / split / name
            _write_numbered([folder / image for image in first(names_in(folder), count, folder)], out / split / name)


def _write_numbered(paths: Iterable[Path], out: Path) -> None:
    for number, path in enumerate(paths):
        save_photo(open_picture(path), out / f'{number:05d}.jpg')
