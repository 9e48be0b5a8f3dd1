"""Conversions to maps of labels or depths: street scenes, clothing, a room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from xlearner_mm.errors import ConfigError
from xlearner_mm.photos.pictures import Crop, first, missing, names_in, open_picture, save_lines, save_map, save_photo

_STREET_CLASSES = 11
_IGNORED = 255
_STREET_CROPS: tuple[Crop, ...] = tuple((x, y, x + 180, y + 180) for x in (0, 150, 300) for y in (0, 180))


def convert_streets(repository: Path, out: Path) -> None:
    """Convert CamVid: six squares of each picture; class 11 (unlabeled) becomes 255.

    Args:
        repository: clone of the repository.
        out: folder to write to.
    """
    for split in ('train', 'val'):
        folder = repository / 'CamVid' / split
        for name in names_in(folder):
            image = open_picture(folder / name)
            labels = np.array(open_picture(repository / 'CamVid' / f'{split}annot' / name))
            labels[labels >= _STREET_CLASSES] = _IGNORED
            for number, crop in enumerate(_STREET_CROPS):
                stem = f'{Path(name).stem}_{number}'
                save_photo(image, out / 'img_dir' / split / f'{stem}.jpg', crop)
                save_map(labels, out / 'ann_dir' / split / f'{stem}.png', crop)


_GROUPS = {
    'background': ('null',),
    'skin': ('skin',),
    'hair': ('hair',),
    'upper': (
        *('blazer', 'blouse', 'bodysuit', 'bra', 'cape', 'cardigan', 'coat', 'hoodie', 'jacket', 'jumper', 'romper'),
        *('shirt', 'suit', 'sweater', 'sweatshirt', 't-shirt', 'top', 'vest'),
    ),
    'lower': ('jeans', 'leggings', 'pants', 'shorts', 'skirt', 'stockings', 'tights'),
    'dress': ('dress',),
}
CLOTHING_CLASSES = (*_GROUPS, 'extras')
"""Classes of ``clothing``; the labels of no other group are extras."""


def convert_clothing(repository: Path, out: Path, train: int = 700) -> None:
    """Convert the pixel-level annotations of clothing, their labels grouped, a square below the top 8% of each picture.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        train: pictures for training, by name; the others are for validation. Defaults to 700.
    """
    folder = repository / 'annotations' / 'pixel-level'
    groups = _label_groups(repository / 'label_list.mat')
    stems = [Path(name).stem for name in names_in(folder)]
    first(stems, train + 1, folder)
    for stem in stems:
        image = open_picture(repository / 'photos' / f'{stem}.jpg')
        labels = _read_mat(folder / f'{stem}.mat', 'groundtruth')
        if labels.max() >= len(groups) or labels.shape != image.size[::-1]:
            raise ConfigError(
                f'{folder / stem}.mat: labels up to {labels.max()} in {labels.shape}, expected below {len(groups)} in '
                f'{image.size[::-1]} (height, width of the photo)'
            )
        top = int(0.08 * image.height)
        crop = (0, top, image.width, top + image.width)
        save_photo(image, out / 'JPEGImages' / f'{stem}.jpg', crop)
        save_map(groups[labels], out / 'SegmentationClass' / f'{stem}.png', crop)
    for split, names in (('train', stems[:train]), ('val', stems[train:])):
        save_lines(names, out / 'ImageSets' / 'Segmentation' / f'{split}.txt')


def _label_groups(path: Path) -> np.ndarray:
    """Return the class of each of the repository's labels."""
    names = [str(entry[0]) for entry in _read_mat(path, 'label_list').ravel()]
    group_of = {name: number for number, members in enumerate(_GROUPS.values()) for name in members}
    return np.array([group_of.get(name, len(_GROUPS)) for name in names], np.uint8)


def _read_mat(path: Path, variable: str) -> np.ndarray:
    if not path.is_file():
        raise missing(path)
    try:
        return loadmat(path)[variable]
    except Exception as error:  # scipy has no error of its own for a damaged file
        raise ConfigError(f"{path}: no MATLAB file with '{variable}' ({error})") from None


_CENTRAL_SQUARE: Crop = (80, 0, 560, 480)
_NO_DEPTH = 65535


def convert_rooms(
    repository: Path, out: Path, train: Sequence[int] = range(700), test: Sequence[int] = range(760, 1000)
) -> None:
    """Convert the frames of an RGB-D video of a room; depth in millimeters, 0 where it is unknown.

    Args:
        repository: clone of the repository.
        out: folder to write to.
        train: numbers of the frames for training. Defaults to 0 to 699.
        test: numbers for testing. Defaults to 760 to 999, a gap away from those for training.
    """
    folder = repository / 'data'
    for split, frames in (('train', train), ('test', test)):
        for frame in frames:
            stem = folder / f'frame-{frame:06d}'
            image = open_picture(stem.with_suffix('.color.jpg'))
            depth = np.array(open_picture(stem.with_suffix('.depth.png'))).astype(np.uint16)
            depth[depth == _NO_DEPTH] = 0
            save_photo(image, out / 'images' / split / f'{frame:06d}.jpg', _CENTRAL_SQUARE)
            save_map(depth, out / 'annotations' / split / f'{frame:06d}.png', _CENTRAL_SQUARE)
