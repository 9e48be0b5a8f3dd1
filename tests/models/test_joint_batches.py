import torch
from torch import nn

from xlearner_mm.models.joint_batches import joint_groups

INPUTS = {'a': torch.zeros(2, 3, 8, 8), 'b': torch.zeros(1, 3, 8, 16), 'c': torch.zeros(3, 3, 8, 8)}


def test_sources_of_one_size_run_together():
    assert joint_groups(INPUTS, nn.BatchNorm2d(3)) == [['a', 'c'], ['b']]


def test_norms_that_talk_to_other_ranks_see_every_source_apart_whatever_the_sizes():
    assert joint_groups(INPUTS, nn.Sequential(nn.SyncBatchNorm(3))) == [['a'], ['b'], ['c']]
