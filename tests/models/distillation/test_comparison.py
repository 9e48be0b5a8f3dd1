import pytest
import torch

from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation.comparison import (
    ChannelStandardize,
    FitNetLoss,
    GuidanceLayer,
    SmoothL1CosineLoss,
    TwoLayerGuidance,
    build_parts,
)


def test_the_students_features_get_the_branchs_channels_and_size():
    out = GuidanceLayer(8, 7)(torch.randn(2, 8, 4, 4), (8, 8))
    assert out.shape == (2, 7, 8, 8)


def test_every_branch_and_level_has_its_own_layer():
    ends = {key: dict(in_channels=4, out_channels=6) for key in ('cls_1', 'det_0', 'det_1')}
    layers = build_parts('squeeze', 'guidance', dict(type='GuidanceLayer', norm=True), ends)
    assert set(layers) == {'cls_1', 'det_0', 'det_1'}
    assert len({id(layer.conv.weight) for layer in layers.values()}) == 3
    assert all(isinstance(layer.norm, torch.nn.BatchNorm2d) for layer in layers.values())


def test_guidance_with_a_norm_is_standardized_before_the_comparison():
    layer, x = GuidanceLayer(4, 6, norm=True), 3 * torch.randn(2, 4, 5, 5) + 1
    mapped = layer.conv(x)
    wanted = (mapped - mapped.mean((0, 2, 3), keepdim=True)) / mapped.std((0, 2, 3), unbiased=False, keepdim=True)
    torch.testing.assert_close(layer(x, (5, 5)), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_the_loss_is_zero_when_equal_and_positive_otherwise(reduction):
    target = torch.randn(2, 3, 4, 4)
    assert (FitNetLoss(reduction)(target.clone(), target) == 0).all()
    assert (FitNetLoss(reduction)(target + 0.1, target) > 0).all()


def test_reductions_differ_by_the_number_of_elements_of_an_image():
    target, guided = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(FitNetLoss('sum')(guided, target), FitNetLoss('mean')(guided, target) * 3 * 4 * 5)


def test_standardized_features_have_mean_0_and_deviation_1_per_channel():
    standardizer = ChannelStandardize(3)
    scale = torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    batches = [torch.randn(8, 3, 6, 6) * scale + 2 * scale for _ in range(20)]
    for batch in batches:
        standardizer.update(batch)
    out = standardizer(torch.cat(batches))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_standardizing_is_the_plain_formula_bit_for_bit_and_leaves_features_as_they_are(dtype):
    standardizer, features = ChannelStandardize(3), (torch.randn(8, 3, 6, 6) * 5 + 1).to(dtype)
    before, double = features.clone(), features.double()
    standardizer.update(features)
    pixels = 8 * 6 * 6
    assert torch.equal(standardizer.mean, (double.sum((0, 2, 3)) / pixels).float())
    assert torch.equal(standardizer.square, (double.square().sum((0, 2, 3)) / pixels).float())
    wanted = (features - standardizer.mean[:, None, None]) / standardizer.std[:, None, None]
    assert torch.equal(standardizer(features), wanted)
    assert torch.equal(features, before)


def test_a_step_without_images_changes_nothing():
    standardizer = ChannelStandardize(3)
    standardizer.update(torch.randn(8, 3, 6, 6))
    before = standardizer.mean.clone()
    standardizer.update()
    assert torch.equal(standardizer.mean, before)


def test_inverse_undoes_standardizing():
    standardizer = ChannelStandardize(3)
    features = torch.randn(8, 3, 6, 6) * 5 + 1
    standardizer.update(features)
    torch.testing.assert_close(standardizer.inverse(standardizer(features)), features)


def smooth_l1_and_cosine(guided, target, smooth_l1, cosine, beta):
    """The formula, image by image and position by position."""
    out = []
    for own, wanted in zip(guided, target, strict=True):
        apart = (own - wanted).abs()
        smooth = torch.where(apart < beta, apart**2 / (2 * beta), apart - beta / 2).mean()
        cosines = [
            own[:, y, x] @ wanted[:, y, x] / (own[:, y, x].norm() * wanted[:, y, x].norm())
            for y in range(own.shape[1])
            for x in range(own.shape[2])
        ]
        out.append(smooth_l1 * smooth + cosine * (1 - torch.stack(cosines).mean()))
    return torch.stack(out)


@pytest.mark.parametrize('settings', [{}, dict(smooth_l1=0.1, cosine=0.9, beta=0.3), dict(cosine=0.0)])
def test_smooth_l1_and_cosine_is_its_formula(settings):
    guided, target = 2 * torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    wanted = smooth_l1_and_cosine(guided, target, **{**dict(smooth_l1=0.5, cosine=0.5, beta=1.0), **settings})
    torch.testing.assert_close(SmoothL1CosineLoss(**settings)(guided, target), wanted)


@pytest.mark.parametrize('settings', [dict(cosine=-1), dict(smooth_l1=0, cosine=0), dict(beta=0)])
def test_weights_of_smooth_l1_and_cosine_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match='SmoothL1CosineLoss.*negative.*beta positive'):
        SmoothL1CosineLoss(**settings)


def test_two_layers_are_convolution_norm_relu_convolution_resized():
    layer, x = TwoLayerGuidance(4, 6, hidden_channels=5), torch.randn(3, 4, 2, 2)
    hidden = torch.einsum('ij,bjhw->bihw', layer.hidden.weight[:, :, 0, 0], x)
    normalized = (hidden - hidden.mean((0, 2, 3), keepdim=True)) / (
        hidden.var((0, 2, 3), unbiased=False, keepdim=True) + layer.hidden_norm.eps
    ).sqrt()
    mapped = torch.einsum('ij,bjhw->bihw', layer.conv.weight[:, :, 0, 0], normalized.clamp(min=0))
    mapped = mapped + layer.conv.bias[:, None, None]
    wanted = torch.nn.functional.interpolate(mapped, size=(4, 4), mode='bilinear')
    torch.testing.assert_close(layer(x, (4, 4)), wanted)


def test_only_the_last_of_two_layers_starts_small():
    layer = TwoLayerGuidance(64, 64)
    layer.init_weights()
    assert float(layer.conv.weight.std()) == pytest.approx(0.01, rel=0.1)
    assert layer.hidden.weight.std() > 0.1
