"""Same seed and machine: same weights to the bit, of both stages."""

import pytest
import torch

from ..soak.trainings import STAGES, differences, train, write_teacher

STEPS = 2


@pytest.fixture
def run(tmp_path):
    write_teacher(tmp_path)

    def trained(stage, name, seed):
        train(stage, tmp_path / name, steps=STEPS, randomness=dict(seed=seed, deterministic=True), hooks=[])
        return torch.load(tmp_path / name / f'iter_{STEPS}.pth', weights_only=False)

    yield trained
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize('stage', STAGES)
def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_does_not(run, stage):
    one, again, other = run(stage, 'one', 3), run(stage, 'again', 3), run(stage, 'other', 4)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert differences(one[part], again[part]) == []
    trained = [key for key, value in one['state_dict'].items() if value.is_floating_point()]
    moved = [key for key in trained if not torch.equal(one['state_dict'][key], other['state_dict'][key])]
    assert len(moved) > len(trained) / 2
