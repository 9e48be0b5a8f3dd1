import random

import numpy as np
import pytest
import torch

from xlearner_mm.engine.hooks.step_seed_hook import seed_step


def drawn():
    return random.random(), float(np.random.rand()), torch.rand(3).tolist()


def test_a_step_draws_the_same_again_and_other_steps_and_ranks_draw_others():
    places = [(0, 0, 5), (0, 0, 6), (0, 1, 5), (1, 0, 5), (0, 0, 5)]
    draws = []
    for place in places:
        seed_step(*place)
        draws.append(drawn())
    assert draws[0] == draws[-1]
    assert len({str(draw) for draw in draws}) == 4


@pytest.mark.parametrize('available', [False, True])
def test_torch_draws_as_by_its_own_seed_with_and_without_another_device(monkeypatch, available):
    monkeypatch.setattr(torch.accelerator, 'is_available', lambda: available)
    seed_step(3, 1, 2)
    found = torch.rand(3)
    torch.manual_seed(int(np.random.SeedSequence([3, 1, 2]).generate_state(1)[0]))
    assert torch.equal(found, torch.rand(3))
