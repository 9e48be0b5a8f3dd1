"""Public datasets of our configs: archives and checksums of torchvision, or the official page and the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torchvision import datasets
from torchvision.datasets.voc import DATASET_YEAR_DICT


class Archive(NamedTuple):
    """One file to download: an archive, or a file as it is.

    Args:
        url: its address.
        md5: its checksum; None where torchvision has none.
    """

    url: str
    md5: str | None


@dataclass(frozen=True)
class PublicSet:
    """A public dataset.

    Args:
        title: its name in papers.
        home: its official page.
        folder: below the data folder, where configs look for it.
        parts: what they read there.
        archives: what is downloaded and unpacked into ``folder``. Defaults to None: the steps alone lead there.
        nested: the archives hold archives. Defaults to False.
        steps: what is left to do by hand, one sentence each. Defaults to nothing.
        whole_with: files below ``folder`` that are there if the parts are whole. Defaults to none.
        by_hand: what the steps add below ``folder``, where configs cannot do without. Defaults to nothing.
    """

    title: str
    home: str
    folder: str
    parts: tuple[str, ...]
    archives: Callable[[], list[Archive]] | None = None
    nested: bool = False
    steps: tuple[str, ...] = ()
    whole_with: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()


def _flowers() -> list[Archive]:
    own = datasets.Flowers102
    return [Archive(own._download_url_prefix + name, md5) for name, md5 in own._file_dict.values()]


def _places() -> list[Archive]:
    own = datasets.Places365
    lists, images = own._DEVKIT_META['standard'], (own._IMAGES_META[split, True] for split in ('train-standard', 'val'))
    return [Archive(own._BASE_URL + name, md5) for name, md5 in (lists, *images)]


def _voc(*years: str) -> Callable[[], list[Archive]]:
    return lambda: [Archive(DATASET_YEAR_DICT[year]['url'], DATASET_YEAR_DICT[year]['md5']) for year in years]


_VOC = 'http://host.robots.ox.ac.uk/pascal/VOC'
_BY_HAND = 'Request or download the archives there.'

PUBLIC = {
    'cifar10': PublicSet(
        'CIFAR-10',
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        'cifar10',
        ('cifar-10-batches-py',),
        lambda: [Archive(datasets.CIFAR10.url, datasets.CIFAR10.tgz_md5)],
    ),
    'cifar100': PublicSet(
        'CIFAR-100',
        'https://www.cs.toronto.edu/~kriz/cifar.html',
        'cifar100',
        ('cifar-100-python',),
        lambda: [Archive(datasets.CIFAR100.url, datasets.CIFAR100.tgz_md5)],
    ),
    'food101': PublicSet(
        'Food-101',
        'https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/',
        '.',
        ('food-101',),
        lambda: [Archive(datasets.Food101._URL, datasets.Food101._MD5)],
    ),
    'pets': PublicSet(
        'Oxford-IIIT Pets',
        'https://www.robots.ox.ac.uk/~vgg/data/pets/',
        'Oxford-IIIT_Pets',
        ('images', 'annotations'),
        lambda: [Archive(*resource) for resource in datasets.OxfordIIITPet._RESOURCES],
    ),
    'flowers102': PublicSet(
        'Oxford Flowers-102',
        'https://www.robots.ox.ac.uk/~vgg/data/flowers/102/',
        'Flowers102',
        ('jpg', 'imagelabels.mat', 'setid.mat'),
        _flowers,
    ),
    'dtd': PublicSet(
        'Describable Textures (DTD)',
        'https://www.robots.ox.ac.uk/~vgg/data/dtd/',
        '.',
        ('dtd',),
        lambda: [Archive(datasets.DTD._URL, datasets.DTD._MD5)],
    ),
    'sun397': PublicSet(
        'SUN397',
        'https://vision.princeton.edu/projects/2010/SUN/',
        'SUN397',
        ('SUN397',),
        lambda: [Archive(datasets.SUN397._DATASET_URL, datasets.SUN397._DATASET_MD5)],
        steps=('Unpack Partitions.zip of its page into SUN397/Partitions (Training_01.txt, Testing_01.txt).',),
        by_hand=('Partitions',),
    ),
    'caltech101': PublicSet(
        'Caltech-101',
        'https://data.caltech.edu/records/mzrjq-6wc02',
        'caltech-101',
        ('101_ObjectCategories',),
        # torchvision has both within its function.
        lambda: [
            Archive(
                'https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip', '3138e1922a9193bfa496528edbbc45d0'
            )
        ],
        nested=True,
        steps=('Put the lists that the docstring of mmpretrain.datasets.Caltech101 links to into caltech-101/meta.',),
        by_hand=('meta',),
    ),
    'aircraft': PublicSet(
        'FGVC Aircraft',
        'https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/',
        '.',
        ('fgvc-aircraft-2013b',),
        lambda: [Archive(datasets.FGVCAircraft._URL, None)],
    ),
    'voc2007': PublicSet(
        'PASCAL VOC 2007, trainval and test',
        f'{_VOC}/voc2007/',
        'VOCdevkit',
        ('VOC2007',),
        _voc('2007', '2007-test'),
        whole_with=('VOC2007/ImageSets/Main/test.txt',),
    ),
    'voc2012': PublicSet(
        'PASCAL VOC 2012, trainval',
        f'{_VOC}/voc2012/',
        'VOCdevkit',
        ('VOC2012',),
        _voc('2012'),
        steps=("For segmentation, add VOC2012/SegmentationClassAug and its lists: mmsegmentation's page on datasets.",),
    ),
    'places365': PublicSet(
        'Places365, standard, 256 x 256',
        'http://places2.csail.mit.edu/download.html',
        'places365',
        (
            *('categories_places365.txt', 'places365_train_standard.txt', 'places365_val.txt'),
            *('data_256', 'val_256'),
        ),
        _places,
        steps=('For variant="challenge", add places365_train_challenge.txt and its images of 256 x 256 to data_256.',),
    ),
    'imagenet1k': PublicSet(
        'ImageNet-1k (ILSVRC 2012)',
        'https://image-net.org/download.php',
        'imagenet',
        ('train', 'val', 'meta'),
        steps=(
            'Register there, and download the training and validation images of ILSVRC 2012.',
            "Unpack them into train/n01440764/... and val, with meta/train.txt and meta/val.txt: mmpretrain's page on "
            'preparing datasets.',
        ),
    ),
    'inat2021': PublicSet(
        'iNaturalist 2021',
        'https://github.com/visipedia/inat_comp/tree/master/2021',
        'inat2021',
        ('train.json', 'val.json', 'train', 'val'),
        steps=('Download the images and annotations of train and val there, and unpack them as they are.',),
    ),
    'coco': PublicSet(
        'COCO 2017',
        'https://cocodataset.org/#download',
        'coco',
        ('annotations', 'train2017', 'val2017'),
        steps=('Unpack train2017.zip, val2017.zip and annotations_trainval2017.zip into it.',),
    ),
    'coco_stuff': PublicSet(
        'COCO-Stuff 164k',
        'https://github.com/nightrome/cocostuff',
        'coco_stuff164k',
        ('images', 'annotations'),
        steps=("Convert the label maps with mmseg's tools/dataset_converters/coco_stuff164k.py.",),
    ),
    'ade20k': PublicSet(
        'ADE20K (SceneParse150)',
        'http://sceneparsing.csail.mit.edu/',
        'ade/ADEChallengeData2016',
        ('images', 'annotations'),
        steps=('Unpack ADEChallengeData2016.zip into ade.',),
    ),
    'objects365': PublicSet(
        'Objects365 v1',
        'https://www.objects365.org/',
        'Objects365/Obj365_v1',
        ('annotations', 'train', 'val'),
        steps=(_BY_HAND, "Arrange them as mmdet's configs/objects365/README.md shows."),
    ),
    'wider_face': PublicSet(
        'WIDER FACE',
        'http://shuoyang1213.me/WIDERFACE/',
        'WIDERFace',
        ('WIDER_train', 'WIDER_val'),
        steps=(_BY_HAND, "Convert the annotations to xml as mmdet's configs/wider_face/README.md shows."),
    ),
    'stanford_cars': PublicSet(
        'Stanford Cars',
        'https://ai.stanford.edu/~jkrause/cars/car_dataset.html',
        'Stanford_Cars',
        ('car_ims', 'cars_annos.mat'),
        steps=(
            'Its archives have moved repeatedly: take car_ims.tgz and cars_annos.mat from a mirror that you trust.',
        ),
    ),
    'stanford_dogs': PublicSet(
        'Stanford Dogs',
        'http://vision.stanford.edu/aditya86/ImageNetDogs/',
        'stanford_dogs',
        ('Images', 'train_list.mat', 'test_list.mat'),
        steps=('Unpack images.tar and lists.tar into it.',),
    ),
    'nyu': PublicSet(
        'NYU-Depth V2',
        'https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html',
        'nyu',
        ('images', 'annotations'),
        steps=(
            "Prepare images and annotations, each with train and test, as mmsegmentation's page on datasets shows.",
        ),
    ),
}
"""Name on the command line -> dataset."""
