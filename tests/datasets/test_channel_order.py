"""In which channel order a dataset's images reach the data preprocessor, seen from its class and its pipeline."""

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.registry import TRANSFORMS
from PIL import Image
from torchvision.datasets import FakeData

from tests.fixtures.transfer_sets import write_cifar10
from xlearner_mm.datasets.channel_order import agreed_order, loaded_order
from xlearner_mm.errors import SourceError
from xlearner_mm.registry import DATASETS, DefaultScope

PACK = dict(type='PackInputs')
FILES = dict(type='CustomDataset', data_prefix='images', pipeline=[dict(type='LoadImageFromFile'), PACK])
CIFAR = dict(type='CIFAR10', data_root='data/cifar10', pipeline=[PACK])
TO_BGR = [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')]


@DATASETS.register_module()
class HeldArrays(BaseDataset):
    """A class of the user's own that holds arrays, and says nothing of their order."""

    def load_data_list(self):
        return [dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=0)]


@DATASETS.register_module()
class HeldRgb(HeldArrays):
    METAINFO = dict(channel_order='rgb')


@TRANSFORMS.register_module()
class LoadWithPillow(BaseTransform):
    def transform(self, results):
        return {**results, 'img': np.array(Image.open(results['img_path']))}


@TRANSFORMS.register_module()
class TurnChannels(BaseTransform):
    def transform(self, results):
        torch.rand(1)
        return {**results, 'img': results['img'][..., ::-1]}


@TRANSFORMS.register_module()
class LoadAndLog(LoadImageFromFile):
    """A subclass that loads as its base does."""


def load(**settings):
    return {**FILES, 'pipeline': [dict(type='LoadImageFromFile', **settings), PACK]}


def held(kind, *steps, **settings):
    return dict(type=kind, pipeline=[*steps, PACK], **settings)


CASES = {
    'files': (FILES, 'bgr'),
    'files by pillow': (load(imdecode_backend='pillow'), 'bgr'),
    'files unchanged': (load(color_type='unchanged'), 'bgr'),
    'TIFF as stored': (load(imdecode_backend='tifffile'), 'rgb'),
    'files in gray': (load(color_type='grayscale'), 'gray'),
    'CIFAR-10': (CIFAR, 'rgb'),
    'CIFAR-100': (dict(CIFAR, type='CIFAR100'), 'rgb'),
    'CIFAR of a prefix': (dict(CIFAR, type='mmpretrain.CIFAR10'), 'rgb'),
    'CIFAR turned round': (dict(CIFAR, pipeline=[*TO_BGR, PACK]), 'bgr'),
    'MNIST': (dict(CIFAR, type='MNIST'), 'gray'),
    'Fashion-MNIST': (dict(CIFAR, type='FashionMNIST'), 'gray'),
    'CIFAR repeated': (dict(type='RepeatDataset', times=2, dataset=CIFAR), 'rgb'),
    'CIFAR concatenated': (dict(type='ConcatDataset', datasets=[CIFAR, dict(CIFAR, split='test')]), 'rgb'),
    'CIFAR with gray': (dict(type='ConcatDataset', datasets=[dict(CIFAR, type='MNIST'), CIFAR]), 'rgb'),
    'CIFAR balanced': (dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=CIFAR), 'rgb'),
    'CIFAR in folds': (dict(type='KFoldDataset', fold=0, num_splits=5, dataset=CIFAR), 'rgb'),
    'some of CIFAR': (dict(CIFAR, indices=[0, 1]), 'rgb'),
    'two wrappers': (
        dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[FILES, FILES])),
        'bgr',
    ),
    'normalized in the pipeline': (
        dict(FILES, pipeline=[*FILES['pipeline'][:1], dict(type='Normalize', mean=[0] * 3, std=[1] * 3), PACK]),
        'rgb',
    ),
    'declared': (held('HeldArrays', metainfo=dict(channel_order='rgb')), 'rgb'),
    'declared by the class': (held('HeldRgb'), 'rgb'),
    'declared, with a file loader': (dict(FILES, metainfo=dict(channel_order='rgb')), 'bgr'),
    'an own loader': (held('HeldArrays', dict(type='LoadWithPillow')), 'rgb'),
    'a loader derived from the stock one': (held('HeldArrays', dict(type='LoadAndLog')), 'bgr'),
    'an own transform that turns': (dict(FILES, pipeline=[*FILES['pipeline'][:1], dict(type='TurnChannels')]), 'rgb'),
    'a class in place of a name': (dict(type=HeldRgb, pipeline=[PACK]), 'rgb'),
    'a transform by its class': (dict(FILES, pipeline=[dict(type=LoadImageFromFile)]), 'bgr'),
    'within an alternative': (
        held('HeldRgb', dict(type='RandomChoice', transforms=[[dict(type='TurnChannels')], []])),
        'bgr',
    ),
    'by its scope': (dict(CIFAR, _scope_='mmpretrain'), 'rgb'),
    'no pipeline at all': (dict(type='TinyIndexDataset', length=2), 'bgr'),
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.mark.parametrize('name', CASES)
def test_the_order_is_that_of_the_class_and_its_pipeline(name):
    config, order = CASES[name]
    assert loaded_order(config, 'training') == order


def test_the_order_is_that_of_the_pixels(tmp_path, monkeypatch):
    """Channel orders of built datasets, compared with their pixels of a red image."""
    (tmp_path / 'red' / 'a').mkdir(parents=True)
    Image.new('RGB', (8, 8), (250, 0, 0)).save(tmp_path / 'red' / 'a' / '0.png')
    for settings, order in ((dict(), 'bgr'), (dict(imdecode_backend='pillow'), 'bgr')):
        config = dict(load(**settings), data_root=str(tmp_path), data_prefix='red')
        dataset = DATASETS.build(config)
        assert loaded_order(dataset, 'training') == order
        assert dataset[0]['inputs'][2].eq(250).all()
    monkeypatch.setattr('mmpretrain.datasets.cifar.check_md5', lambda *_: True)
    write_cifar10(tmp_path, 2)
    built = DATASETS.build(dict(CIFAR, data_root=str(tmp_path / 'cifar10'), split='train'))
    wrapped = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=built))
    assert loaded_order(built, 'training') == loaded_order(wrapped, 'training') == 'rgb'


def test_torchvision_s_datasets_give_rgb():
    assert loaded_order(FakeData(2), 'training') == 'rgb'


def test_own_transforms_are_tried_without_touching_the_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    loaded_order(CASES['an own transform that turns'][0], 'training')
    assert torch.equal(torch.rand(3), expected)


def test_parts_of_a_wrapper_that_differ_are_named():
    mixed = dict(type='ConcatDataset', datasets=[FILES, CIFAR])
    with pytest.raises(SourceError, match="training.*CustomDataset.*bgr.*CIFAR10.*rgb.*'NumpyToPIL'"):
        loaded_order(mixed, 'training')
    turned = dict(type='ConcatDataset', datasets=[FILES, dict(CIFAR, pipeline=[*TO_BGR, PACK])])
    assert loaded_order(turned, 'training') == 'bgr'


def test_arrays_must_declare_their_channel_order():
    with pytest.raises(SourceError, match=r"training.*HeldArrays holds arrays.*metainfo=dict\(channel_order='rgb'\)"):
        loaded_order(held('HeldArrays'), 'training')
    with pytest.raises(SourceError, match="metainfo.channel_order of its HeldArrays is 'RGB'"):
        loaded_order(held('HeldArrays', metainfo=dict(channel_order='RGB')), 'training')


def test_training_and_validation_must_agree():
    assert agreed_order(dict(training=CIFAR, validation=dict(CIFAR, type='MNIST'), test=None), 'x') == 'rgb'
    with pytest.raises(SourceError, match='training.* rgb.* validation.* bgr'):
        agreed_order(dict(training=CIFAR, validation=FILES), 'x')
