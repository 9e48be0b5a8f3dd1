import torch

from xlearner_mm.models.joint_batches import joint_groups


def test_sources_of_one_image_size_are_one_group():
    inputs = {'a': torch.zeros(2, 3, 8, 8), 'b': torch.zeros(1, 3, 8, 16), 'c': torch.zeros(3, 3, 8, 8)}
    assert joint_groups(inputs) == [['a', 'c'], ['b']]
