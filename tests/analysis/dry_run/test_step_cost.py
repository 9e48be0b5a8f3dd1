import pytest
import torch
from torch import nn

from xlearner_mm.analysis.dry_run.source_cost import StepCost, measure_step


def test_flops_are_those_of_forward_and_backward():
    layer, x = nn.Linear(64, 32, bias=False), torch.randn(16, 64)
    cost = measure_step(lambda: layer(x).sum(), layer.parameters())
    # The input takes no gradient: forward, and the gradient of the weights.
    assert cost.flops == 2 * (2 * 16 * 64 * 32)


def test_what_is_saved_is_what_the_backward_pass_reads_and_gradients_are_no_part_of_it():
    layers = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024))
    x = torch.randn(512, 256)
    cost = measure_step(lambda: layers(x).sum(), layers.parameters())
    activation = 512 * 1024 * 4
    # The ReLU's output, which ReLU and second layer both read; nothing reads what the layers themselves give out.
    assert activation <= cost.saved < 1.1 * activation
    assert all(parameter.grad is not None for parameter in layers.parameters())


def test_costs_lie_on_the_line_through_two_of_them():
    one, two = StepCost(10, 100, 5), StepCost(20, 150, 5)
    assert one.towards(two, 3.0) == StepCost(40, 250, 5)
    assert one.scaled(2) == StepCost(20, 200, 10)
    assert one.towards(StepCost(0, 0, 0), 4).flops == 0


def test_a_frozen_part_costs_a_forward_pass_only():
    frozen, trained = nn.Linear(64, 64, bias=False).requires_grad_(False), nn.Linear(64, 64, bias=False)
    x = torch.randn(8, 64)
    both = measure_step(lambda: trained(frozen(x)).sum(), [*frozen.parameters(), *trained.parameters()])
    assert both.flops == pytest.approx(3 * 2 * 8 * 64 * 64)
    assert frozen.weight.grad is None
