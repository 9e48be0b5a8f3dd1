"""The libraries' own config files, with only the backbone replaced by the port: they train and predict.

Every row names a stock file and what a user has to say beside it: sizes for tiny images, and the ``in_channels`` of
heads whose stock backbone is no ResNet-50.
"""

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from xlearner_mm.datasets import parse_sources
from xlearner_mm.errors import SourceError
from xlearner_mm.models.expansion.stock_network import build_stock_network
from xlearner_mm.registry import MODELS

R50 = [256, 512, 1024, 2048]
SIZE = 64
FEW_PROPOSALS = dict(
    train_cfg=dict(rpn_proposal=dict(max_per_img=20)), test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(max_per_img=5))
)
TINY_SEG = dict(data_preprocessor=dict(size=(SIZE, SIZE)), test_cfg=dict(_delete_=True, mode='whole'))


@dataclass
class Stock:
    """One stock config file and what is said beside it."""

    scope: str
    path: str
    change: dict = field(default_factory=dict)

    def network(self):
        file = Path(importlib.import_module(self.scope).__file__).parent / '.mim' / 'configs' / self.path
        config = Config.fromfile(str(file))
        if self.scope == 'mmpretrain':
            config.model.data_preprocessor = config.data_preprocessor
        config.merge_from_dict(dict(model=self.change))
        return {'_scope_': self.scope, **config.model.to_dict()}

    def __str__(self):
        return f'{self.scope}: {self.path.split("/")[-1].removesuffix(".py")}'


DETECTION = [
    Stock('mmdet', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', FEW_PROPOSALS),
    Stock('mmdet', 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', FEW_PROPOSALS),
    Stock('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py'),
    Stock('mmdet', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'),
    Stock('mmdet', 'atss/atss_r50_fpn_1x_coco.py'),
    Stock('mmdet', 'gfl/gfl_r50_fpn_1x_coco.py'),
    Stock(
        'mmdet',
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        dict(backbone=dict(out_indices=(1, 2, 3)), neck=dict(in_channels=R50[1:])),
    ),
    Stock('mmdet', 'detr/detr_r50_8xb2-150e_coco.py'),
    Stock('mmdet', 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'),
]
# Without a neck, and with two: as a list.
UNUSUAL_NECKS = [
    Stock('mmdet', 'faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py', FEW_PROPOSALS),
    Stock('mmdet', 'dyhead/atss_r50_fpn_dyhead_1x_coco.py'),
]
INSTANCES = Stock('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', FEW_PROPOSALS)
SEGMENTATION = [
    Stock('mmseg', 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', TINY_SEG),
    Stock('mmseg', 'pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py', TINY_SEG),
    Stock('mmseg', 'deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py', TINY_SEG),
    Stock('mmseg', 'upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', TINY_SEG),
    Stock(
        'mmseg',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        dict(TINY_SEG, decode_head=dict(in_channels=R50)),
    ),
    Stock('mmseg', 'sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py', TINY_SEG),
]
DEPTH = Stock(
    'mmseg',
    'vpd/vpd_sd_4xb8-25k_nyu-480x480.py',
    dict(TINY_SEG, decode_head=dict(in_channels=R50, fmap_border=(0, 0))),
)
CLASSIFICATION = [
    Stock('mmpretrain', 'resnet/resnet50_8xb32_in1k.py'),
    Stock('mmpretrain', 'resnet/resnet50_8xb32-mixup_in1k.py'),
]
MULTI_LABEL = [Stock('mmpretrain', 'csra/resnet101-csra_1xb16_voc07-448px.py')]
ARCFACE = Stock('mmpretrain', 'arcface/resnet50-arcface_8xb32_inshop.py')


@pytest.fixture(scope='module')
def expanded():
    """A full-width ResNet-50 branch for every task, linked to none: the heads are what is tried here."""
    branch = dict(type='XLearnerResNet', depth=50)
    return MODELS.build(dict(type='XLearnerExpandedBackbone', branches=dict(trunk=branch), tasks=dict(any='trunk')))


def meta():
    shape = (SIZE, SIZE)
    return dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))


def detection_sample():
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(meta(), img_id=0))
    boxes = torch.tensor([[4.0, 6.0, 40.0, 44.0], [20.0, 10.0, 60.0, 50.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1, 2]))
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return sample


def instance_sample():
    from mmdet.structures.mask import BitmapMasks

    sample = detection_sample()
    masks = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
    masks[0, 6:44, 4:40] = masks[1, 10:50, 20:60] = 1
    sample.gt_instances.masks = BitmapMasks(masks, height=SIZE, width=SIZE)
    return sample


def segmentation_sample():
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=meta())
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, SIZE, SIZE)))
    return sample


def depth_sample():
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=meta())
    sample.gt_depth_map = PixelData(data=1 + 8 * torch.rand(1, SIZE, SIZE))
    return sample


def classification_sample():
    from mmpretrain.structures import DataSample

    return DataSample(metainfo=meta()).set_gt_label(3)


def multi_label_sample():
    from mmpretrain.structures import DataSample

    return DataSample(metainfo=meta()).set_gt_label([0, 3])


def build(expanded, network):
    source = dict(task='any', batch_size=2, dataset=dict(type='X'), network=network)
    return build_stock_network(parse_sources(dict(it=source))['it'], expanded)


def train_and_predict(expanded, network, sample):
    """One training step and one prediction of a source with this network; returns the predicted samples."""
    built = build(expanded, network)
    assert not list(built.backbone.parameters())
    built.init_weights()
    expanded.train()
    built.train()
    expanded.zero_grad()
    batch = built.data_preprocessor(raw_batch(sample), True)
    loss, _ = built.parse_losses(built(**batch, mode='loss'))
    assert torch.isfinite(loss)
    loss.backward()
    # The port's gradients arrive in the shared branch, and every head's parameters take part.
    assert expanded.branches['trunk'].backbone.conv1.weight.grad.abs().sum() > 0
    expanded.eval()
    built.eval()
    with torch.no_grad():
        return built(**built.data_preprocessor(raw_batch(sample), False), mode='predict')


def raw_batch(sample):
    images = [torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=[sample(), sample()])


@pytest.mark.parametrize(
    'stock', [*DETECTION, *(pytest.param(stock, marks=pytest.mark.slow) for stock in UNUSUAL_NECKS)], ids=str
)
def test_detectors(stock, expanded):
    predictions = train_and_predict(expanded, stock.network(), detection_sample)
    assert all('bboxes' in p.pred_instances for p in predictions)


def test_instance_segmentor(expanded):
    predictions = train_and_predict(expanded, INSTANCES.network(), instance_sample)
    assert all('masks' in p.pred_instances for p in predictions)


@pytest.mark.parametrize('stock', SEGMENTATION, ids=str)
def test_segmentors(stock, expanded):
    predictions = train_and_predict(expanded, stock.network(), segmentation_sample)
    assert all(p.pred_sem_seg.data.shape == (1, SIZE, SIZE) for p in predictions)


def test_depth_estimator(expanded):
    predictions = train_and_predict(expanded, DEPTH.network(), depth_sample)
    assert all(p.pred_depth_map.data.shape == (1, SIZE, SIZE) for p in predictions)


@pytest.mark.parametrize('stock', CLASSIFICATION, ids=str)
def test_classifiers(stock, expanded):
    predictions = train_and_predict(expanded, stock.network(), classification_sample)
    assert all(p.pred_score.shape == (1000,) for p in predictions)


@pytest.mark.parametrize('stock', MULTI_LABEL, ids=str)
def test_multi_label_classifiers(stock, expanded):
    predictions = train_and_predict(expanded, stock.network(), multi_label_sample)
    assert all(p.pred_score.shape == (20,) for p in predictions)


def test_multi_label_linear_head(expanded):
    """Stock files use it with mixed labels (above); here it is given several labels an image."""
    head = dict(_delete_=True, type='MultiLabelLinearClsHead', num_classes=20, in_channels=2048)
    network = Stock('mmpretrain', 'resnet/resnet50_8xb32_in1k.py', dict(head=head)).network()
    network['data_preprocessor']['num_classes'] = 20
    predictions = train_and_predict(expanded, network, multi_label_sample)
    assert all(p.pred_score.shape == (20,) for p in predictions)


def test_arcface_head(expanded):
    """Its stock file puts it into a retriever, refused below; neck and head of that file train in a classifier."""
    arcface = ARCFACE.network()
    network = Stock('mmpretrain', 'resnet/resnet50_8xb32_in1k.py').network()
    network = {**network, 'neck': arcface['image_encoder'][1], 'head': arcface['head']}
    predictions = train_and_predict(expanded, network, classification_sample)
    assert all(p.pred_score.shape == (3997,) for p in predictions)


@pytest.mark.parametrize(
    ('stock', 'message'),
    [
        (ARCFACE, 'ImageToImageRetriever has no `backbone` setting'),
        (
            Stock('mmdet', 'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'),
            'SoftTeacher has no `backbone` setting.*its `detector` is a network with one',
        ),
        (
            Stock('mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'),
            r'neck.in_channels is \[96, 192, 384\], but .* gives \[256, 512, .*choose levels by out_indices',
        ),
        (
            Stock('mmseg', 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py'),
            r'decode_head.in_channels is \[32, 64, 160, 256\]',
        ),
        (Stock('mmseg', 'vpd/vpd_sd_4xb8-25k_nyu-480x480.py'), r'decode_head.in_channels is \[320, 640, 1280, 1280\]'),
    ],
    ids=str,
)
def test_an_unsupported_stock_config_is_refused_with_the_reason(stock, message, expanded):
    with pytest.raises(SourceError, match=f"source 'it': {message}"):
        build(expanded, stock.network())
