"""The contents of XL-Mini: its sets, and the pictures with labels that they consist of.

Sources are for pre-training, transfer sets for judging a backbone; no class of a transfer set occurs in a source.
Pictures are 64 x 64 RGB. Each set has its own folder, in the layout of the real datasets that it represents
(see ``Layout``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

VERSION = '3'
"""Must change whenever the bytes of a seed change."""

IMAGE_SIZE = 64
"""Side of every XL-Mini picture, in pixels."""

IGNORE = 255
"""Mask value of pixels that no metric counts (outlines of objects)."""


class Layout(Enum):
    """Files of a set below its own folder."""

    CLASS_FOLDERS = '{split}/{class}/*.jpg'
    CLASS_FOLDERS_PNG = '{split}/{class}/*.png'
    COCO = '{split}/*.jpg, annotations/instances_{split}.json'
    SEG_DIRS = 'img_dir/{split}/*.jpg, ann_dir/{split}/*.png'
    VOC_DET = 'VOC2007/{JPEGImages/*.jpg, Annotations/*.xml, ImageSets/Main/{split}.txt}'
    VOC_SEG = 'VOC2012/{JPEGImages/*.jpg, SegmentationClass/*.png, ImageSets/Segmentation/{split}.txt}'
    NYU = 'images/{split}/*.jpg, annotations/{split}/*.png (16 bit, millimeters)'


@dataclass(frozen=True)
class MiniSet:
    """One source or transfer set.

    Args:
        name: of its folder.
        role: ``'source'`` or ``'transfer'``.
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        layout: of its files.
        classes: names in label order, without background; empty for depth.
        counts: pictures per split. The last split is held out: it has its own handwriting, faces and fonts.
        about: description in one sentence.
    """

    name: str
    role: str
    task: str
    layout: Layout
    classes: tuple[str, ...]
    counts: dict[str, int]
    about: str

    @property
    def held_out(self) -> str:
        """The held-out split, for measuring."""
        return list(self.counts)[-1]

    def scaled(self, scale: float) -> dict[str, int]:
        """Return the counts times ``scale``, at least 2, and at least one per class for ``cls``."""
        least = len(self.classes) if self.task == 'cls' else 2
        return {split: max(least, round(n * scale)) for split, n in self.counts.items()}


class Box(NamedTuple):
    """A pixel box of one object; ``x1`` and ``y1`` are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    def overlap(self, other: Box) -> float:
        """Return the shared area divided by the smaller of the two areas, in ``[0, 1]``."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / min(self.area, other.area)

    @property
    def area(self) -> int:
        """Number of pixels in the box."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Instance:
    """One object of a scene.

    Args:
        label: index of its class, without background.
        box: tight box around the visible pixels.
        visible: ``(H, W)`` bool, the visible pixels.
        truncated: whether part of the object is outside the picture. Defaults to False.
        occluded: whether another object hides part of it. Defaults to False.
    """

    label: int
    box: Box
    visible: np.ndarray
    truncated: bool = False
    occluded: bool = False


@dataclass(frozen=True)
class Sample:
    """One picture with its label.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        label: class index of a classification picture. Defaults to -1.
        instances: objects of a scene. Defaults to none.
        mask: ``(H, W)`` uint8 class indices of a segmentation picture: 0 is background, ``IGNORE`` an outline.
            Defaults to None.
        depth: ``(H, W)`` float32, meters along the optical axis. Defaults to None.
    """

    image: np.ndarray
    label: int = -1
    instances: tuple[Instance, ...] = ()
    mask: np.ndarray | None = None
    depth: np.ndarray | None = None


DIGITS = tuple('0123456789')
SHAPES = (
    'circle', 'ring', 'half_disc', 'crescent', 'triangle',
    'square', 'star', 'cross', 'heart', 'arrow',
)  # fmt: skip
TEXTURES = (
    'brick', 'grass', 'gravel', 'stripes', 'zigzag',
    'dots', 'weave', 'wood', 'marble', 'cells',
)  # fmt: skip
LETTERS = tuple('ABCDEFGHJKLMNPRSTUWY')
PATTERNS = (
    'checks', 'scales', 'plaid', 'rings', 'dashes', 'cobbles', 'blotches', 'fur',
)  # fmt: skip
TALLIES = ('one', 'two', 'three', 'four', 'five', 'six')
SYMBOLS = (
    'gear', 'snowflake', 'peace', 'recycle', 'radiation', 'yin_yang',
    'biohazard', 'scales_of_justice', 'swords', 'envelope', 'pencil', 'hand',
)  # fmt: skip
TILTS = ('upright', 'left_45', 'left_90', 'left_135', 'down', 'right_135', 'right_90', 'right_45')

CATALOG: dict[str, MiniSet] = {
    entry.name: entry
    for entry in (
        MiniSet(
            'digits', 'source', 'cls', Layout.CLASS_FOLDERS_PNG, DIGITS,
            {'train': 3000, 'val': 300},
            'A handwritten digit of any color on a photograph or texture: which digit?',
        ),
        MiniSet(
            'shapes', 'source', 'cls', Layout.CLASS_FOLDERS, SHAPES,
            {'train': 3000, 'val': 300},
            'A turned, squeezed shape, some with a bar across, on a photograph or texture: which shape?',
        ),
        MiniSet(
            'textures', 'source', 'cls', Layout.CLASS_FOLDERS, TEXTURES,
            {'train': 3000, 'val': 300},
            'A surface at any scale, angle, contrast and color: what is it made of?',
        ),
        MiniSet(
            'det_shapes', 'source', 'det', Layout.COCO,
            ('disk', 'triangle', 'star', 'cross', 'heart'), {'train': 2400, 'val': 300},
            'One to four shapes on a photograph.',
        ),
        MiniSet(
            'det_digits', 'source', 'det', Layout.COCO, DIGITS, {'train': 2400, 'val': 300},
            'One to three handwritten digits on a texture.',
        ),
        MiniSet(
            'seg_things', 'source', 'seg', Layout.SEG_DIRS,
            ('airplane', 'umbrella', 'telephone', 'spade', 'cloud'), {'train': 2400, 'val': 300},
            'One to three pictograms, each filled with a texture, on a texture.',
        ),
        MiniSet(
            'letters', 'transfer', 'cls', Layout.CLASS_FOLDERS, LETTERS,
            {'train': 800, 'test': 500},
            'A capital letter; the test letters are in typefaces that training never shows.',
        ),
        MiniSet(
            'patterns', 'transfer', 'cls', Layout.CLASS_FOLDERS, PATTERNS,
            {'train': 800, 'test': 500},
            'A surface of a kind that no source shows: what is it made of?',
        ),
        MiniSet(
            'counting', 'transfer', 'cls', Layout.CLASS_FOLDERS, TALLIES,
            {'train': 900, 'test': 500},
            'Equal discs on a photograph or texture: how many?',
        ),
        MiniSet(
            'symbols', 'transfer', 'cls', Layout.CLASS_FOLDERS, SYMBOLS,
            {'train': 720, 'test': 500},
            'A pictogram turned by up to 30 degrees: which one?',
        ),
        MiniSet(
            'face_tilt', 'transfer', 'cls', Layout.CLASS_FOLDERS, TILTS,
            {'train': 800, 'test': 500},
            'The face of a person, none of whom is in both splits: which way is it turned?',
        ),
        MiniSet(
            'voc_mini', 'transfer', 'det', Layout.VOC_DET,
            ('face', 'rook', 'note', 'anchor', 'scissors'), {'train': 300, 'val': 300, 'test': 300},
            'One to three faces or pictograms on a photograph or texture.',
        ),
        MiniSet(
            'voc_seg_mini', 'transfer', 'seg', Layout.VOC_SEG,
            ('face', 'knight', 'club', 'flower', 'pawn'), {'train': 500, 'val': 250},
            'One to three faces or pictograms on a photograph or texture.',
        ),
        MiniSet(
            'nyu_mini', 'transfer', 'depth', Layout.NYU, (), {'train': 500, 'test': 200},
            'Boxes standing in a room of unknown size: how far is every pixel?',
        ),
    )
}  # fmt: skip
"""Every set by its name, sources first."""
