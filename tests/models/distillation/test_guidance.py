import torch

from xlearner_mm.models.distillation import Guidance, GuidanceLayer


def test_the_students_features_get_the_branchs_channels_and_size():
    guidance = Guidance({0: 4, 1: 8}, {'cls': {0: 6, 1: 10}, 'det': {0: 5, 1: 7}})
    out = guidance(torch.randn(2, 8, 4, 4), 'det', 1, (8, 8))
    assert out.shape == (2, 7, 8, 8)


def test_every_branch_and_level_has_its_own_layer():
    guidance = Guidance({0: 4, 1: 8}, {'cls': {1: 10}, 'det': {0: 5, 1: 7}})
    assert set(guidance.layers) == {'cls_1', 'det_0', 'det_1'}


def test_with_a_norm_it_is_standardised_before_the_comparison():
    layer, x = GuidanceLayer(4, 6, norm=True), 3 * torch.randn(2, 4, 5, 5) + 1
    mapped = layer.conv(x)
    wanted = (mapped - mapped.mean((0, 2, 3), keepdim=True)) / mapped.std((0, 2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(layer(x, (5, 5)), wanted, rtol=1e-3, atol=1e-3)
