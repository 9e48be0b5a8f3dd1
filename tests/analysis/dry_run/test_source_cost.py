import pytest
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from xlearner_mm.analysis.dry_run.source_cost import source_cost


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
def test_what_is_tried_in_part_costs_what_the_whole_does(batch_size, size, pixels, tried):
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
