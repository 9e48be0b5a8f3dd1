"""What XL-Mini consists of.

Sources are for pre-training, transfer sets for judging a backbone; no class of a transfer set
occurs in a source. Pictures are 64 x 64 RGB. Each set lies in its own folder, in the layout of the
real data sets that it stands for (see ``Layout``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

VERSION = '3'
"""Changes whenever the same seed gives other bytes."""


class Layout(Enum):
    """How a set lies on disk, below its own folder."""

    CLASS_FOLDERS = '{split}/{class}/*.jpg'
    CLASS_FOLDERS_PNG = '{split}/{class}/*.png'
    COCO = '{split}/*.jpg, annotations/instances_{split}.json'
    SEG_DIRS = 'img_dir/{split}/*.jpg, ann_dir/{split}/*.png'
    VOC_DET = 'VOC2007/{JPEGImages/*.jpg, Annotations/*.xml, ImageSets/Main/{split}.txt}'
    VOC_SEG = 'VOC2012/{JPEGImages/*.jpg, SegmentationClass/*.png, ImageSets/Segmentation/{split}.txt}'
    NYU = 'images/{split}/*.jpg, annotations/{split}/*.png (16 bit, millimetres)'


@dataclass(frozen=True)
class MiniSet:
    """One source or transfer set.

    Args:
        name: Name of its folder.
        role: ``'source'`` or ``'transfer'``.
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        layout: How it lies on disk.
        classes: Class names in label order, without background; empty for depth.
        counts: Pictures per split. The last split is the one held out: it uses handwriting, faces
            and fonts that no other split shows.
        about: One sentence on what is seen and what is asked.
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
        """The split that is kept for measuring."""
        return list(self.counts)[-1]

    def scaled(self, scale: float) -> dict[str, int]:
        """Return the counts times ``scale``, at least 2 and for ``cls`` one of each class."""
        least = len(self.classes) if self.task == 'cls' else 2
        return {split: max(least, round(n * scale)) for split, n in self.counts.items()}


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
            'A handwritten digit of any colour on a photograph or texture: which digit?',
        ),
        MiniSet(
            'shapes', 'source', 'cls', Layout.CLASS_FOLDERS, SHAPES,
            {'train': 3000, 'val': 300},
            'A turned, squeezed shape, some with a bar across, on a photograph or texture: which shape?',
        ),
        MiniSet(
            'textures', 'source', 'cls', Layout.CLASS_FOLDERS, TEXTURES,
            {'train': 3000, 'val': 300},
            'A surface at any scale, angle, contrast and colour: what is it made of?',
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
