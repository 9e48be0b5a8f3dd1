import math

import pytest
import torch

from xlearner_mm.evaluation.similarity import LinearCKA, positions


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cka(x, y, unbiased=True, batches=1):
    measured = LinearCKA(unbiased)
    for part_x, part_y in zip(x.chunk(batches), y.chunk(batches), strict=True):
        measured.update(part_x, part_y)
    return measured.compute()


def plain_hsic(k, m):
    """Kornblith et al. 2019, section 3: HSIC(K, M) = tr(KHMH) / (n - 1)^2."""
    n = len(k)
    h = torch.eye(n, dtype=k.dtype) - torch.ones(n, n, dtype=k.dtype) / n
    return torch.trace(k @ h @ m @ h) / (n - 1) ** 2


def unbiased_hsic(k, m):
    """Nguyen et al. 2021, equation 3, by its terms."""
    n, ones = len(k), torch.ones(len(k), dtype=k.dtype)
    k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (torch.trace(k @ m) + sums - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


@pytest.mark.parametrize(('unbiased', 'hsic'), [(False, plain_hsic), (True, unbiased_hsic)])
def test_cka_equals_the_formula_on_gram_matrices(unbiased, hsic):
    x = gaussian(30, 5) + 3
    y = x[:, :3] @ gaussian(3, 7, seed=1) + gaussian(30, 7, seed=2)
    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()
    assert cka(x, y, unbiased) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize('unbiased', [False, True])
def test_a_rotated_scaled_and_shifted_feature_is_the_same_feature(unbiased):
    x = gaussian(40, 6)
    rotation = torch.linalg.qr(gaussian(6, 6, seed=1)).Q
    assert cka(x, 2.5 * x @ rotation + 7, unbiased) == pytest.approx(1, abs=1e-9)


def test_scaling_one_channel_changes_the_similarity():
    x = gaussian(200, 6)
    assert cka(x, x * torch.tensor([30.0, 1, 1, 1, 1, 1])) < 0.7


def test_the_plain_estimate_is_between_0_and_1_and_symmetric():
    for seed in range(20):
        x, y = gaussian(8, 20, seed=seed), gaussian(8, 3, seed=100 + seed)
        assert 0 <= cka(x, y, unbiased=False) <= 1
        assert cka(x, y, unbiased=False) == pytest.approx(cka(y, x, unbiased=False), abs=1e-12)


def test_few_samples_of_many_channels_look_alike_to_the_plain_estimate_only():
    pairs = [(gaussian(32, 64, seed=seed), gaussian(32, 64, seed=50 + seed)) for seed in range(20)]
    plain = sum(cka(x, y, unbiased=False) for x, y in pairs) / len(pairs)
    unbiased = sum(cka(x, y) for x, y in pairs) / len(pairs)
    assert plain > 0.6
    assert abs(unbiased) < 0.02


@pytest.mark.parametrize('batches', [2, 5, 40])
def test_batch_size_does_not_change_the_result(batches):
    x, y = gaussian(40, 4), gaussian(40, 4) + gaussian(40, 4, seed=1)
    assert cka(x, y, batches=batches) == pytest.approx(cka(x, y), abs=1e-12)


def test_single_precision_features_with_a_large_mean_lose_nothing():
    x = gaussian(100, 8).float() + 1000
    assert cka(x, x @ torch.linalg.qr(gaussian(8, 8, seed=1)).Q.float()) == pytest.approx(1, abs=1e-6)


def test_a_constant_feature_has_no_similarity():
    assert math.isnan(cka(torch.zeros(10, 3), gaussian(10, 3)))


def test_too_few_samples_and_other_samples_are_refused():
    with pytest.raises(ValueError, match='at least 4 samples, got 3'):
        cka(gaussian(3, 2), gaussian(3, 2))
    with pytest.raises(ValueError, match=r'got \(5, 2\) and \(6, 2\)'):
        LinearCKA().update(gaussian(5, 2), gaussian(6, 2))
    with pytest.raises(ValueError, match=r'CKA needs at least 4 samples, got 0'):
        LinearCKA().compute()


def test_positions_are_samples():
    feature = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    (samples,) = positions(feature)
    assert samples.shape == (2 * 16, 3)
    assert samples[17].tolist() == feature[1, :, 0, 1].tolist()


def test_large_images_give_no_more_samples_than_small_ones():
    assert positions(torch.zeros(1, 3, 200, 300), grid=8)[0].shape == (64, 3)
    assert positions(torch.zeros(1, 3, 2, 300), grid=8)[0].shape == (16, 3)


def test_maps_of_different_size_are_read_at_the_same_places():
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    fine, coarse = positions(ramp[..., ::2, ::2], ramp[..., 4::8, 4::8])
    assert (fine - coarse).abs().max() < 1 / 32
