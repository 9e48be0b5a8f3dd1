from contextlib import nullcontext

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn

import xlearner_mm.analysis.dry_run.source_cost as source_cost_module
from xlearner_mm.analysis.dry_run.source_cost import Allocations, StepCost, first, measure_step, shrink, source_cost
from xlearner_mm.registry import MODELS
from xlearner_mm.testing import tiny_batch, tiny_expanded, tiny_sources


class Stacking(BaseDataPreprocessor):
    def forward(self, data, training=False):
        return {'inputs': torch.stack(data['inputs']).float(), 'data_samples': data['data_samples']}


class Net(BaseModel):
    def __init__(self):
        super().__init__(data_preprocessor=Stacking())
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return {'loss': self.layers(inputs).square().mean()}


def items(size):
    return [
        {'inputs': torch.zeros(3, size, size, dtype=torch.uint8), 'data_samples': BaseDataElement()} for _ in range(2)
    ]


@pytest.mark.parametrize(
    ('batch_size', 'size', 'pixels', 'tried'),
    [
        (16, 64, 3 * 64 * 64, 'batches of 2 and 3'),
        (2, 128, 2 * 96 * 96, '2 image(s) of 4096 and 9216 pixels'),
        (8, 128, 2 * 96 * 96, '2 image(s) of 4096 and 9216 pixels'),
    ],
)
def test_extrapolated_cost_equals_the_full_cost(batch_size, size, pixels, tried):
    net = Net()
    whole = source_cost(net, None, items(size), batch_size, pixels=10**7)
    part = source_cost(net, None, items(size), batch_size, pixels=pixels)
    assert (whole.tried, part.tried) == ('the whole batch', tried)
    assert whole.shape == part.shape == (batch_size, 3, size, size)
    assert part.cost.flops == pytest.approx(whole.cost.flops)
    assert part.cost.saved == pytest.approx(whole.cost.saved, rel=0.02)
    assert part.cost.saved + part.cost.extra == pytest.approx(whole.cost.saved + whole.cost.extra, rel=0.1)


def test_sixteen_bits_save_less():
    full = source_cost(Net(), None, items(64), 4)
    half = source_cost(Net(), None, items(64), 4, half=True)
    assert half.cost.saved < 0.8 * full.cost.saved
    assert half.cost.flops == full.cost.flops


def learner_loss():
    settings = dict(type='ExpansionLearner', backbone=tiny_expanded(), sources=tiny_sources())
    model = MODELS.build(settings).train()
    data = model.data_preprocessor(tiny_batch(), True)
    return lambda: model.parse_losses(model(**data, mode='loss'))[0], model.parameters()


def roi_loss():
    x = torch.randn(2, 8, 32, 32, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 2.0, 20.0, 30.0], [1, 0.0, 0.0, 8.0, 8.0]])
    layer = nn.Conv2d(8, 8, 3)
    return lambda: layer(RoIAlign(7, sampling_ratio=0)(x, rois)).square().sum(), layer.parameters()


def attention_loss():
    layer, x = nn.TransformerEncoderLayer(32, 4, 64), torch.randn(16, 2, 32)
    return lambda: layer(x).square().mean(), layer.parameters()


@pytest.mark.parametrize('made', [learner_loss, roi_loss, attention_loss])
def test_skipped_kernels_count_with_their_full_cost(monkeypatch, made):
    loss, parameters = made()
    parameters = list(parameters)
    measure_step(loss, parameters)  # caches
    uncomputed = measure_step(loss, parameters)
    monkeypatch.setattr(source_cost_module, '_Uncomputed', nullcontext)
    computed = measure_step(loss, parameters)
    assert uncomputed.flops == computed.flops > 0
    assert uncomputed.saved == computed.saved > 0
    assert uncomputed.extra == pytest.approx(computed.extra, rel=0.02)


def test_flops_are_those_of_forward_and_backward():
    layer, x = nn.Linear(64, 32, bias=False), torch.randn(16, 64)
    cost = measure_step(lambda: layer(x).sum(), layer.parameters())
    # The input takes no gradient: forward, and the gradient of the weights.
    assert cost.flops == 2 * (2 * 16 * 64 * 32)


def test_saved_activations_exclude_gradients():
    layers = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024))
    x = torch.randn(512, 256)
    cost = measure_step(lambda: layers(x).sum(), layers.parameters())
    activation = 512 * 1024 * 4
    # The ReLU's output, which ReLU and second layer both read; nothing reads what the layers themselves give out.
    assert activation <= cost.saved < 1.1 * activation
    assert all(parameter.grad is not None for parameter in layers.parameters())


def test_costs_are_extrapolated_linearly():
    one, two = StepCost(10, 100, 5), StepCost(20, 150, 5)
    assert one.towards(two, 3.0) == StepCost(40, 250, 5)
    assert one.scaled(2) == StepCost(20, 200, 10)
    assert one.towards(StepCost(0, 0, 0), 4).flops == 0


def test_frozen_modules_cost_a_forward_pass_only():
    frozen, trained = nn.Linear(64, 64, bias=False).requires_grad_(False), nn.Linear(64, 64, bias=False)
    x = torch.randn(8, 64)
    both = measure_step(lambda: trained(frozen(x)).sum(), [*frozen.parameters(), *trained.parameters()])
    assert both.flops == pytest.approx(3 * 2 * 8 * 64 * 64)
    assert frozen.weight.grad is None


KIB = 1024


def test_the_peak_is_the_maximum_and_not_the_sum():
    with Allocations() as allocations:
        for _ in range(3):
            held = torch.zeros(64, KIB)
            del held
    assert 256 * KIB <= allocations.peak < 300 * KIB


def test_the_mark_is_the_memory_at_that_time():
    with Allocations() as allocations:
        first = torch.zeros(64, KIB)
        allocations.mark()
        second = torch.zeros(128, KIB)
    assert 256 * KIB <= allocations.at_mark < 300 * KIB
    assert allocations.peak - allocations.at_mark >= 512 * KIB
    assert first.numel() < second.numel()


def detection(height=128, width=256):
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), batch_input_shape=(height, width), scale_factor=2))
    masks = BitmapMasks(np.ones((1, height, width), np.uint8), height, width)
    boxes = torch.tensor([[0.0, 0.0, 256.0, 64.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0]), masks=masks)
    return {'inputs': torch.zeros(2, 3, height, width), 'data_samples': [sample, sample]}


def test_images_shrink_to_about_the_pixels_wanted_and_objects_with_them():
    small = shrink(detection(), 128 * 256 / 4)
    assert small['inputs'].shape == (2, 3, 64, 128)
    sample = small['data_samples'][0]
    assert sample.img_shape == sample.batch_input_shape == (64, 128)
    assert 'pad_shape' not in sample
    assert sample.gt_instances.bboxes.tolist() == [[0, 0, 128, 32]]
    assert sample.gt_instances.masks.masks.shape == (1, 64, 128)


def test_maps_of_labels_keep_the_size_of_their_images():
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 128, 128)))
    small = shrink({'inputs': torch.zeros(1, 3, 128, 128), 'data_samples': [sample]}, 64 * 64)
    assert small['data_samples'][0].gt_sem_seg.shape == small['inputs'].shape[-2:] == (64, 64)


def test_the_given_batch_is_not_modified():
    data = detection()
    shrink(data, 4096)
    first(data, 1)['data_samples'][0].gt_instances.bboxes.zero_()
    assert data['inputs'].shape == (2, 3, 128, 256)
    assert data['data_samples'][0].gt_instances.bboxes.tolist() == [[0, 0, 256, 64]]


def test_sides_are_multiples_of_the_stride_and_never_longer_than_before():
    shapes = [shrink(detection(96, 224), pixels)['inputs'].shape[-2:] for pixels in (1, 5000, 10**6)]
    assert all(h % 32 == w % 32 == 0 and h <= 96 and w <= 224 for h, w in shapes)
    assert shapes[0] == (32, 32)
