"""Whole stock networks of each library, from their own configs: with ours as backbone they compute the same."""

import copy

import pytest
import torch
from mmengine.config import Config, ConfigDict

from xlearner_mm.models import XLearnerResNet
from xlearner_mm.registry import MODELS

from .stock_walk import as_ours, folder_of, is_plain, shaken

SIDE = 96
NETWORKS = [
    ('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco.py'),
    ('mmdet', 'faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py'),
    ('mmdet', 'dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py'),
    ('mmseg', 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    ('mmseg', 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py'),
    ('mmpretrain', 'resnet/resnet18_8xb32_in1k.py'),
    ('mmpretrain', 'resnet/resnetv1d50_8xb32_in1k.py'),
    ('mmpretrain', 'resnet/resnet50_8xb256-rsb-a1-600e_in1k.py'),
]


def with_ours(node):
    """Change the type of every plain ResNet in a model's config, and nothing else."""
    if isinstance(node, dict):
        changed = {key: with_ours(value) for key, value in node.items()}
        return as_ours(changed) if is_plain(changed) else changed
    return [with_ours(value) for value in node] if isinstance(node, list | tuple) else node


def without_weights(node):
    """Start from nothing: the published checkpoints are not at hand."""
    if isinstance(node, dict):
        return {key: without_weights(value) for key, value in node.items() if key not in ('init_cfg', 'pretrained')}
    return [without_weights(value) for value in node] if isinstance(node, list | tuple) else node


def samples(library):
    """Two labeled images as the library's pipelines give them."""
    meta = dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0))
    if library == 'mmdet':
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        boxes = InstanceData(bboxes=torch.tensor([[10.0, 12.0, 60.0, 70.0]]), labels=torch.tensor([3]))
        made = [DetDataSample(gt_instances=boxes, metainfo=meta) for _ in range(2)]
    elif library == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        made = [
            SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 4, (1, SIDE, SIDE))), metainfo=meta)
            for _ in range(2)
        ]
    else:
        from mmpretrain.structures import DataSample

        made = [DataSample(metainfo=meta).set_gt_label(i) for i in range(2)]
    return torch.randn(2, 3, SIDE, SIDE), made


def tensors_in(node):
    """All tensors of whatever a network gives, in order."""
    if isinstance(node, torch.Tensor):
        return [node]
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    return [tensor for value in values for tensor in tensors_in(value)]


@pytest.mark.slow
@pytest.mark.parametrize(('library', 'file'), NETWORKS, ids=[file.split('/')[1] for _, file in NETWORKS])
def test_outputs_and_losses_are_those_of_stock(library, file):
    cfg = Config.fromfile(folder_of(library) / file)
    model = without_weights(cfg.model.to_dict())
    stock = shaken(MODELS.build(ConfigDict(model, _scope_=library)))
    ours = MODELS.build(ConfigDict(with_ours(model), _scope_=library))
    assert any(isinstance(module, XLearnerResNet) for module in ours.modules())
    ours.load_state_dict(stock.state_dict(), strict=True)
    images, labeled = samples(library)
    for train, mode in ((False, 'tensor'), (True, 'loss')):
        given = []
        for network in (stock.train(train) or stock, ours.train(train) or ours):
            torch.manual_seed(2)
            with torch.no_grad():
                given.append(tensors_in(network(images, copy.deepcopy(labeled), mode=mode)))
        assert given[0]
        for theirs, mine in zip(*given, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
