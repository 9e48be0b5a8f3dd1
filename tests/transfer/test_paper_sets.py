"""Every set of the paper's suite: its config reads the set's true form on disk, and trains as its stock recipe."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config

import xlearner_mm  # noqa: F401  (mmseg's configs are found by name)
from tests.export.conftest import description
from tests.fixtures.transfer_sets import TRANSFER_FIXTURES
from xlearner_mm.export import export_backbone
from xlearner_mm.registry import DATASETS, MODELS, DefaultScope
from xlearner_mm.transfer.protocol import Protocol, transfer_sets
from xlearner_mm.transfer.rows import read_result
from xlearner_mm.transfer.transfer_set import transfer_to_set

SETS = {entry.name: entry for entry in transfer_sets(Path(__file__).parents[2] / 'configs' / 'transfer')}
IMAGES = 4
AVG_CLS = {'cifar10', 'cifar100', 'food101', 'pets', 'flowers102', 'sun397', 'cars', 'dtd', 'caltech101', 'aircraft'}
STOCK = {
    'voc0712': 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
    'coco': 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'voc12': 'mmseg::upernet/upernet_r50_4xb4-20k_voc12aug-512x512.py',
    'ade20k': 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
}
# A ResNet-18 of base width 16, in steps that a CPU takes in a second.
SHORT = [
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=2',
    'images_per_step=2',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
]
DETECTOR = [
    'model.neck.out_channels=16',
    'model.rpn_head.in_channels=16',
    'model.rpn_head.feat_channels=16',
    'model.roi_head.bbox_roi_extractor.out_channels=16',
    'model.roi_head.bbox_head.in_channels=16',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'model.test_cfg.rcnn.score_thr=0.0',  # two steps give no confident detection
    *(f'{split}_dataloader.dataset.pipeline.1.scale=(200,120)' for split in ('val', 'test')),
]
SEGMENTOR = [
    'model.decode_head.channels=16',
    'model.auxiliary_head.channels=16',
    'model.data_preprocessor.size=(64,64)',
    *(f'{split}_dataloader.dataset.pipeline.1.scale=(128,64)' for split in ('val', 'test')),
]
SMALL = {
    'voc0712': [
        *DETECTOR,
        *('param_scheduler.0.by_epoch=False', 'default_hooks.checkpoint.by_epoch=False'),  # as the short loop counts
        *(f'train_dataloader.dataset.dataset.datasets.{part}.pipeline.2.scale=(200,120)' for part in (0, 1)),
    ],
    'coco': [
        *DETECTOR,
        *('param_scheduler.1.by_epoch=False', 'default_hooks.checkpoint.by_epoch=False'),
        'train_dataloader.dataset.pipeline.2.scale=(200,120)',
    ],
    'voc12': [
        *SEGMENTOR,
        *(f'train_dataloader.dataset.datasets.{part}.pipeline.3.crop_size=(64,64)' for part in (0, 1)),
        *(f'train_dataloader.dataset.datasets.{part}.pipeline.6.size=(64,64)' for part in (0, 1)),
    ],
    'ade20k': [*SEGMENTOR, 'train_dataloader.dataset.pipeline.3.crop_size=(64,64)'],
    'nyu': [
        'model.decode_head.embed_dim=16',
        'model.decode_head.feature_dim=128',
        'model.data_preprocessor.size=(96,96)',
        'train_dataloader.dataset.pipeline.4.crop_size=(96,96)',
        *(f'{split}_dataloader.dataset.pipeline.1.scale=(400,96)' for split in ('val', 'test')),
    ],
}
"""Smaller heads and pictures."""
PIPELINES_OF_CIFAR = [('train', 2), ('val', 0), ('test', 0)]


@pytest.fixture(scope='module')
def fixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp('transfer_sets')
    for write in TRANSFER_FIXTURES.values():
        write(root / 'data', IMAGES)
    return root


@pytest.fixture
def inside(fixtures, monkeypatch):
    monkeypatch.chdir(fixtures)
    # The fixtures' pickles cannot have the real ones' checksums.
    monkeypatch.setattr('mmpretrain.datasets.cifar.check_md5', lambda *_: True)
    return fixtures


@pytest.fixture(scope='module')
def backbone(tmp_path_factory):
    """An export with all that exports record, among it how its images were normalized."""
    folder = tmp_path_factory.mktemp('backbone')
    config = dict(type='XLearnerResNet', depth=18, stem_channels=16, base_channels=16)
    state = {f'student.{key}': value for key, value in MODELS.build(config).state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'xlearner': description(config)}}, folder / 'iter_1.pth')
    export_backbone(str(folder / 'iter_1.pth'), folder / 'backbone.pth')
    return folder / 'backbone.pth'


def test_the_suite_has_the_slides_sets_and_two_beside_them():
    assert {entry.name for entry in SETS.values() if entry.task == 'cls'} == AVG_CLS
    by_class = {'caltech101', 'aircraft', 'flowers102', 'pets'}
    for name in AVG_CLS:
        metric = 'single-label/recall' if name in by_class else 'accuracy/top1'
        assert SETS[name].metric.key == metric
    others = {name: entry.metric.label for name, entry in SETS.items() if name not in AVG_CLS and not entry.extra}
    assert others == {'voc0712': 'AP50', 'voc12': 'mIoU', 'nyu': 'delta1'}
    assert {name for name, entry in SETS.items() if entry.extra} == {'coco', 'ade20k'}


@pytest.mark.parametrize('name', SETS)
def test_a_config_reads_the_layout_of_its_set(inside, name):
    cfg = Config.fromfile(SETS[name].config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            dataset = DATASETS.build(loader.dataset.to_dict())
            assert len(dataset) >= IMAGES
            assert dataset[0]['inputs'].shape[0] == 3
    if SETS[name].task == 'cls':
        # mmpretrain has no names of the flowers.
        assert name == 'flowers102' or len(dataset.metainfo['classes']) == cfg.model.head.num_classes
        assert dataset[0]['inputs'].shape == (3, 224, 224)


@pytest.mark.parametrize('name', ['flowers102', 'dtd', 'aircraft'])
def test_a_set_s_own_validation_split_is_part_of_its_training_images(inside, name):
    cfg = Config.fromfile(SETS[name].config)
    splits = (cfg.train_dataloader.dataset.split, cfg.validation_split, 'test')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = [DATASETS.build({**cfg.train_dataloader.dataset.to_dict(), 'split': split}) for split in splits]
    training, validation, test = (
        {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))} for dataset in built
    )
    assert validation < training
    assert not test & training


@pytest.mark.parametrize('name', STOCK)
def test_detection_and_segmentation_are_the_stock_configs_but_for_the_backbone(name):
    stock, ours = get_config(STOCK[name]), Config.fromfile(SETS[name].config)
    for key in (
        'train_dataloader',
        'test_dataloader',
        'test_evaluator',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
    ):
        assert plain(ours[key]) == plain(stock[key])
    models = plain(ours.model), plain(stock.model)
    for model in models:
        model['backbone'] = {k: v for k, v in model['backbone'].items() if k not in ('type', 'init_cfg')}
        model['pretrained'] = None
    assert models[0] == models[1]


@pytest.mark.parametrize('name', ['dtd', 'pets'])  # with a validation split of its own; without, and judged per class
def test_a_backbone_of_another_size_is_probed(inside, tmp_path, backbone, name):
    options = ['test_dataloader.num_workers=0']
    assert transfer_to_set(SETS[name].config, tmp_path, str(backbone), Protocol(), options=options) == 0
    result = read_result(tmp_path)
    assert SETS[name].metric.key in result.metrics
    own = name == 'dtd'
    assert result.probe.validation == ("the set's own split 'val'" if own else 'a fifth of every class, seed 0')
    assert result.probe.validation_images == (IMAGES if own else 2)


@pytest.mark.parametrize('probe', ['sgd', 'lbfgs'])
def test_cifar_s_rgb_arrays_are_not_swapped(inside, tmp_path, backbone, capsys, probe):
    """By a training and by a probe of kept features; swapped they would be BGR, which both refuse."""
    options = [*SHORT] if probe == 'sgd' else ['test_dataloader.num_workers=0']
    options += [f'{split}_dataloader.dataset.pipeline.{step}.scale=32' for split, step in PIPELINES_OF_CIFAR]
    config, protocol = SETS['cifar10'].config, Protocol(probe=probe)
    assert transfer_to_set(config, tmp_path / 'as_is', str(backbone), protocol, options=options) == 0
    swapped = [*options, 'model.data_preprocessor.to_rgb=True']
    assert transfer_to_set(config, tmp_path / 'swapped', str(backbone), protocol, options=swapped) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search('loaded in rgb order.*channels bgr', message)
    assert 'to_rgb=False' in message


@pytest.mark.slow
@pytest.mark.parametrize('name', SETS)
def test_every_set_is_trained_by_its_stock_runner(inside, tmp_path, backbone, name):
    small = [*SHORT, "train_cfg={'type': 'IterBasedTrainLoop', 'max_iters': 2, 'val_interval': 2, '_delete_': True}"]
    small += SMALL.get(name, [])
    protocol = Protocol(probe='sgd')
    assert transfer_to_set(SETS[name].config, tmp_path, str(backbone), protocol, options=small) == 0
    assert SETS[name].metric.key in read_result(tmp_path).metrics


def plain(value):
    """Containers as plain ones, without what parsing adds to a config that another one builds on."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items() if key not in ('_scope_', 'backend_args')}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value
