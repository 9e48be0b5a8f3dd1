import numpy as np
import pytest
import torch

from xlearner_mm.transfer.probing.features import Features
from xlearner_mm.transfer.probing.logistic import best_strength, choose, fit

CLASSES = 3


def accuracy(scores, labels):
    return 100 * float((scores.argmax(axis=1) == labels).mean())


def features(count=90, noise=1.0, seed=0, classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = 3 * np.eye(classes, 6)
    values = (centers[labels] + noise * rng.normal(size=(count, 6))).astype(np.float32) * 100 + 50
    return Features(values, labels, np.array([str(i) for i in range(count)]))


def test_the_fit_minimizes_the_penalized_loss():
    """Gradient of C * sum of the cross-entropies + |w|^2 / 2, by autograd."""
    data, strength = features(), 0.1
    fitted = fit(data, strength, CLASSES)
    x = torch.tensor(fitted.standardize(data.values), dtype=torch.float64)
    weight, bias = fitted.layer()
    weight = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, torch.tensor(data.labels), reduction='sum')
    (strength * loss + weight.square().sum() / 2).backward()
    assert fitted.converged
    assert weight.grad.abs().max() < 2e-3
    assert bias.grad.abs().max() < 2e-3


def test_scores_are_probabilities_and_classes_without_images_get_none():
    fitted = fit(features(classes=2), 1.0, classes=4)
    scores = fitted.scores(features(seed=1, classes=2).values)
    assert scores.sum(axis=1) == pytest.approx(1)
    assert (scores[:, 2:] == 0).all()
    assert accuracy(scores, features(seed=1, classes=2).labels) > 90


def test_features_of_any_scale_are_fitted_alike():
    data = features()
    scaled = Features(data.values * 1000 - 7, data.labels, data.images)
    plain, other = fit(data, 1.0, CLASSES), fit(scaled, 1.0, CLASSES)
    assert other.layer()[0] == pytest.approx(plain.layer()[0], rel=1e-3, abs=1e-3)


def test_the_choice_is_the_best_on_validation_and_of_equals_that_of_the_least_loss():
    training, validation = features(30, noise=3.0), features(300, noise=3.0, seed=1)
    curve = choose(training, validation, CLASSES, accuracy)
    for tried in curve:
        scores = fit(training, tried.C, CLASSES, 200).scores(validation.values)
        assert tried.value == accuracy(scores, validation.labels)
        assert tried.loss == pytest.approx(-np.log(scores[np.arange(300), validation.labels]).mean(), rel=1e-4)
    best = max(tried.value for tried in curve)
    equals = [tried for tried in curve if tried.value == best]
    assert best_strength(curve) == min(equals, key=lambda tried: tried.loss).C
    assert len(curve) > 8


def test_ties_in_the_metric_do_not_select_a_penalty_that_learns_nothing():
    """Separable features: the direction alone gives every image its class, however little is learned of it."""
    curve = choose(features(30, noise=0.1), features(6, noise=0.1, seed=1), CLASSES, accuracy)
    assert {tried.value for tried in curve} == {100}
    assert best_strength(curve) > 1


def test_a_class_without_training_images_has_a_finite_loss():
    curve = choose(features(classes=2), features(seed=1), CLASSES, accuracy)
    assert np.isfinite([tried.loss for tried in curve]).all()


def test_standardized_features_have_mean_0_and_variance_1():
    standard = fit(features(), 1.0, CLASSES).standardize(features().values)
    assert standard.mean(axis=0) == pytest.approx(0, abs=1e-4)
    assert standard.var(axis=0) == pytest.approx(1, abs=1e-4)


def test_two_classes_have_the_probabilities_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    data = features(classes=2)
    fitted = fit(data, 0.5, classes=2)
    standard = fitted.standardize(data.values)
    reference = LogisticRegression(C=0.5, max_iter=1000).fit(standard, data.labels).predict_proba(standard)
    assert fitted.scores(data.values) == pytest.approx(reference, abs=1e-5)
    weight, bias = fitted.layer()
    layer = torch.softmax(torch.tensor(standard @ weight.T + bias), dim=1)
    assert layer.numpy() == pytest.approx(reference, abs=1e-5)
