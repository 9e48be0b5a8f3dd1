import torch

from xlearner_mm.models.distillation import Guidance


def test_the_students_features_get_the_branchs_channels_and_size():
    guidance = Guidance({0: 4, 1: 8}, {'cls': {0: 6, 1: 10}, 'det': {0: 5, 1: 7}})
    out = guidance(torch.randn(2, 8, 4, 4), 'det', 1, (8, 8))
    assert out.shape == (2, 7, 8, 8)


def test_every_branch_and_level_has_its_own_layer():
    guidance = Guidance({0: 4, 1: 8}, {'cls': {1: 10}, 'det': {0: 5, 1: 7}})
    assert set(guidance.layers) == {'cls_1', 'det_0', 'det_1'}
