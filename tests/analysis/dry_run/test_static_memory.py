import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from torch import nn

from xlearner_mm.analysis.dry_run.run import state_per_byte, static_memory


@pytest.mark.parametrize(
    ('optimizer', 'copies'),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
        (lambda p: torch.optim.AdamW(p, lr=0.1), 2),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), 3),
    ],
)
def test_an_optimizer_s_state_is_what_it_really_keeps(optimizer, copies):
    model = nn.Linear(8, 8)
    assert state_per_byte(optimizer(model.parameters())) == copies


def test_frozen_parameters_have_neither_gradients_nor_state():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 5, bias=False))
    model[0].requires_grad_(False)
    wrapper = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad]))
    memory = static_memory(model, wrapper, [], world_size=2)
    assert memory == {
        'parameters': 600,
        'buffers': 0,
        'gradients': 200,
        'optimizer': 400,
        'gradient buckets': 200,
        'frozen teachers': 0,
        'moving average': 0,
    }


def test_one_process_has_no_buckets_and_a_moving_average_is_a_copy():
    model = nn.Linear(10, 10, bias=False)
    memory = static_memory(model, OptimWrapper(torch.optim.SGD(model.parameters(), lr=1)), [EMAHook()], world_size=1)
    assert memory['gradient buckets'] == 0
    assert memory['moving average'] == memory['parameters']
