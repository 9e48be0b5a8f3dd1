import pytest
import torch

from xlearner_mm.models.distillation import ChannelStandardizer, fitnet_loss


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_the_loss_is_zero_when_equal_and_positive_otherwise(reduction):
    target = torch.randn(2, 3, 4, 4)
    assert fitnet_loss(target, target.clone(), reduction) == 0
    assert fitnet_loss(target, target + 0.1, reduction) > 0


def test_reductions_differ_by_the_number_of_elements_of_an_image():
    target, guided = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(fitnet_loss(target, guided, 'sum'), fitnet_loss(target, guided, 'mean') * 3 * 4 * 5)


def test_standardised_features_have_mean_0_and_deviation_1_per_channel():
    standardizer = ChannelStandardizer(3)
    scale = torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    batches = [torch.randn(8, 3, 6, 6) * scale + 2 * scale for _ in range(20)]
    for batch in batches:
        standardizer.update(batch)
    out = standardizer(torch.cat(batches))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)


def test_a_step_without_images_changes_nothing():
    standardizer = ChannelStandardizer(3)
    standardizer.update(torch.randn(8, 3, 6, 6))
    before = standardizer.mean.clone()
    standardizer.update()
    assert torch.equal(standardizer.mean, before)


def test_inverse_undoes_standardising():
    standardizer = ChannelStandardizer(3)
    features = torch.randn(8, 3, 6, 6) * 5 + 1
    standardizer.update(features)
    torch.testing.assert_close(standardizer.inverse(standardizer(features)), features)
