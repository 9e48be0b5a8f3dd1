"""Every source of paper scale reads its data set's true form, and follows its stock recipe."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from tests.fixtures import FIXTURES, write_fixtures
from xlearner_mm.datasets import MultiSourceDataset
from xlearner_mm.registry import DATASETS

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_'
LR = Config.fromfile(CONFIGS / 'schedules' / 'pretrain_500k.py').lr
GPUS = 8
# Source -> the stock config that it follows, and the images of a step that its learning rate is for.
RECIPES = {
    'imagenet1k': ('mmpretrain::resnet/resnet50_8xb32_in1k.py', 256),
    'coco': ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 16),
    'objects365': ('mmdet::objects365/faster-rcnn_r50_fpn_16xb4-1x_objects365v1.py', 64),
    'wider_face': ('mmdet::wider_face/retinanet_r50_fpn_1x_widerface.py', 16),
    'ade20k': ('mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py', 16),
    'voc2012': ('mmseg::upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py', 16),
}
# mmseg has COCO-Stuff with dilated backbones alone: its data are followed, the network is ADE20K's.
DATA_RECIPES = {**RECIPES, 'coco_stuff': ('mmseg::pspnet/pspnet_r50-d8_4xb4-160k_coco-stuff164k-512x512.py', 16)}


def source(name):
    return Config.fromfile(CONFIGS / 'sources' / f'{name}.py')[name]


@pytest.fixture(scope='module')
def fixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp('fixtures')
    write_fixtures(root / 'data')
    return root


@pytest.mark.parametrize('name', FIXTURES)
def test_a_source_reads_its_layout_and_has_the_classes_of_its_set(fixtures, monkeypatch, name):
    monkeypatch.chdir(fixtures)
    settings = source(name)
    dataset = MultiSourceDataset({name: settings.to_dict()})
    sample, classes = dataset[0]['data'], len(dataset.metainfo[name]['classes'])
    assert sample['inputs'].shape[0] == 3
    labels = labels_of(sample['data_samples'], settings.task)
    assert labels
    assert all(0 <= label < classes or (label == 255 and settings.task == 'seg') for label in labels)
    validation = DATASETS.build(settings.val_dataloader.dataset.to_dict())
    assert len(validation) >= 4
    assert validation[0]['inputs'].shape[0] == 3
    assert set(values_of('num_classes', settings.network.to_dict())) == {classes}


@pytest.mark.parametrize('name', DATA_RECIPES)
def test_pipelines_are_the_stock_recipes(name):
    stock, ours = get_config(DATA_RECIPES[name][0]), source(name)
    train = stock.train_dataloader.dataset
    mine = ours.dataset
    assert plain(first_of(mine).pipeline) == plain(first_of(train).pipeline)
    assert plain(ours.val_dataloader.dataset.pipeline) == plain(stock.val_dataloader.dataset.pipeline)


@pytest.mark.parametrize('name', RECIPES)
def test_the_network_is_the_stock_one_but_for_its_backbone(name):
    stock, ours = plain(get_config(RECIPES[name][0]).model), plain(source(name).network)
    for network in (stock, ours):
        for part in ('_scope_', 'backbone', 'pretrained', 'data_preprocessor'):
            network.pop(part, None)
    assert ours == stock


@pytest.mark.parametrize('name', RECIPES)
def test_loss_weight_times_the_schedules_rate_is_the_stock_rate_at_this_batch_size(name):
    config, images = RECIPES[name]
    stock, ours = get_config(config).optim_wrapper.optimizer, source(name)
    assert ours.loss_weight * LR == pytest.approx(stock.lr * ours.batch_size * GPUS / images)


def labels_of(sample, task):
    if task == 'cls':
        return sample.gt_label.tolist()
    return (sample.gt_instances.labels if task == 'det' else sample.gt_sem_seg.data.unique()).tolist()


def first_of(dataset):
    return dataset.datasets[0] if 'datasets' in dataset else dataset


def plain(value):
    """Containers as plain ones, without what the stock files write out though it is the default."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items() if key != 'backend_args'}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def values_of(key, value):
    if isinstance(value, dict):
        for k, v in value.items():
            yield from [v] if k == key else values_of(key, v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from values_of(key, v)
