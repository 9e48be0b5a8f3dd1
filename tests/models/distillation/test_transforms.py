import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.any_settings import FEW
from xlearner_mm.errors import ConfigError
from xlearner_mm.models.distillation import comparison, transforms
from xlearner_mm.models.distillation.comparison import ChannelStandardize
from xlearner_mm.models.distillation.transforms import PHIStandardize, ScalarStandardize, equalizing_rotation

CHANNELS = [1, 2, 3, 5, 6, 8, 12, 14]
TRANSFORMS = [ChannelStandardize, ScalarStandardize, PHIStandardize]


def correlated(channels, batch=6, seed=0):
    """Features (B, C, 5, 7) of unlike means, scales and of correlated channels."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator) * torch.logspace(-1, 1, channels)[:, None]
    noise = torch.randn(batch, channels, 5, 7, generator=generator)
    return torch.einsum('ij,bjhw->bihw', mixing, noise) + torch.arange(channels)[:, None, None]


def covariance(features):
    columns = features.double().transpose(0, 1).flatten(1)
    return torch.cov(columns, correction=0).reshape(len(columns), len(columns))


def fitted(transform, features, **settings):
    built = transform(features.shape[1], **settings)
    built.update(features)
    return built


@pytest.mark.parametrize('channels', CHANNELS)
@pytest.mark.parametrize('transform', TRANSFORMS)
def test_inverse_undoes_forward_also_after_further_steps(transform, channels):
    features = correlated(channels)
    built = fitted(transform, features)
    for seed in range(1, 5):
        built.update(correlated(channels, seed=seed))
    torch.testing.assert_close(built.inverse(built(features)), features, rtol=1e-3, atol=1e-3)


def test_scalar_is_the_centered_features_over_one_deviation():
    features = correlated(6)
    out = fitted(ScalarStandardize, features, eps=0.0)(features)
    columns = features.transpose(0, 1).flatten(1)
    scale = columns.var(1, correction=0).mean().sqrt()
    wanted = (features - columns.mean(1)[:, None, None]) / scale
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('channels', CHANNELS)
def test_phi_gives_every_channel_unit_variance(channels):
    features = correlated(channels)
    out = covariance(fitted(PHIStandardize, features, eps=0.0)(features))
    torch.testing.assert_close(out.diagonal(), torch.ones(channels).double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('channels', CHANNELS)
def test_phi_is_a_rotation_of_the_scalar_transform(channels):
    features = correlated(channels)
    phi, scalar = (fitted(kind, features) for kind in (PHIStandardize, ScalarStandardize))
    torch.testing.assert_close(phi.rotation @ phi.rotation.T, torch.eye(channels), rtol=0, atol=1e-5)
    rotated = torch.einsum('ij,bjhw->bihw', phi.rotation, scalar(features))
    torch.testing.assert_close(phi(features), rotated, rtol=1e-4, atol=1e-4)


def test_phi_of_a_power_of_two_is_hadamard_times_eigenvectors():
    features = correlated(4)
    phi = fitted(PHIStandardize, features)
    own = covariance(features)
    in_eigenbasis = phi.rotation.double() @ torch.linalg.eigh(own).eigenvectors
    torch.testing.assert_close(in_eigenbasis.abs(), torch.full((4, 4), 0.5).double(), rtol=0, atol=1e-3)


def test_of_uncorrelated_channels_of_one_variance_phi_is_channel_standardization_rotated():
    noise = torch.randn(6, 6, 5, 7, dtype=torch.double)
    centered = noise - noise.mean((0, 2, 3), keepdim=True)
    white = torch.linalg.inv(torch.linalg.cholesky(covariance(centered)))
    features = torch.einsum('ij,bjhw->bihw', 3 * white, centered).float() + 2
    phi, channel = (fitted(kind, features) for kind in (PHIStandardize, ChannelStandardize))
    torch.testing.assert_close(phi(features).square().sum(1), channel(features).square().sum(1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(covariance(phi(features)), torch.eye(6).double(), rtol=0, atol=1e-3)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=24))
@FEW
def test_any_variances_are_equalized(variances):
    variances = torch.tensor(variances, dtype=torch.double)
    rotation = equalizing_rotation(variances)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(len(variances)).double())
    equal = (rotation * variances @ rotation.T).diagonal()
    torch.testing.assert_close(equal, variances.mean().expand(len(variances)), rtol=1e-6, atol=1e-9)


def test_moments_are_those_of_all_images_whatever_the_batches():
    parts = [correlated(6, batch, seed) for seed, batch in enumerate((5, 1, 3, 2))]
    whole = fitted(PHIStandardize, torch.cat(parts))
    step_by_step = PHIStandardize(6)
    step_by_step.update(*parts[:2])
    step_by_step.update()
    step_by_step.update(parts[2])
    step_by_step.update(parts[3])  # the fourth step: refitted
    torch.testing.assert_close(step_by_step.product, whole.product, rtol=1e-3, atol=1e-3)
    unsigned = [
        (own @ covariance(torch.cat(parts)).float() @ own.T).diagonal()
        for own in (step_by_step.rotation, whole.rotation)
    ]
    torch.testing.assert_close(*unsigned, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_moments_are_those_of_all_ranks(transform, monkeypatch):
    own, other = correlated(6, batch=2, seed=1), correlated(6, batch=5, seed=2)
    wanted = fitted(transform, torch.cat([own, other]))
    sent = []
    with monkeypatch.context() as patch:
        for module in (comparison, transforms):
            patch.setattr(module, 'all_reduce', lambda sums: sent.append(sums.clone()))
        fitted(transform, other)
    theirs = iter(sent)
    for module in (comparison, transforms):
        monkeypatch.setattr(module, 'all_reduce', lambda sums: sums.add_(next(theirs)))
    found = fitted(transform, own)
    for name in ('mean', 'square', 'count', 'product'):
        if hasattr(found, name):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-4)
    assert next(theirs, None) is None


def test_the_rotation_changes_at_the_named_steps_alone_and_after_a_checkpoint_too():
    phi = PHIStandardize(4, refits=(1, 3))
    rotations = []
    for seed in range(6):
        if seed == 2:
            saved = copy.deepcopy(phi.state_dict())
            phi = PHIStandardize(4, refits=(1, 3))
            phi.load_state_dict(saved)
        before = phi.rotation.clone()
        phi.update(correlated(4, seed=seed))
        rotations.append(not torch.equal(before, phi.rotation))
    assert rotations == [True, False, True, False, False, False]
    assert int(phi.steps) == 6


def test_a_step_that_is_skipped_and_restored_is_repeated_as_if_it_had_not_been():
    skipping, plain = PHIStandardize(4, refits=(1, 2)), PHIStandardize(4, refits=(1, 2))
    for seed in range(3):
        if seed == 1:
            saved = {name: value.clone() for name, value in skipping.named_buffers()}
            skipping.update(correlated(4, seed=9))
            for name, value in skipping.named_buffers():
                value.copy_(saved[name])
        skipping.update(correlated(4, seed=seed))
        plain.update(correlated(4, seed=seed))
    assert all(map(torch.equal, skipping.buffers(), plain.buffers()))


@pytest.mark.parametrize('refits', [(), (0,), (1.5,), 4])
def test_steps_that_cannot_be_are_refused(refits):
    with pytest.raises(ConfigError, match=r'PHIStandardize: refits.*\(1, 4, 16, 64\)'):
        PHIStandardize(4, refits=refits)
